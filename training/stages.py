"""The stages of a training run; each continues from what earlier ones left on disk, and repeats nothing."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from segment_anything.modeling import Sam
from transformers import CLIPTextModel

from inpaint_server.models.layout import INPAINTING, SEGMENTER
from inpaint_server.models.manifest import write_manifest
from inpaint_server.models.sam import SamConfig, build_sam
from training.assemble import Models, save_bundle, untrained
from training.autoencoder import train_autoencoder
from training.dataset import Composites, render
from training.diffusion import DiffusionModels, train_diffusion
from training.latents import Latents
from training.loop import seeded
from training.making import Drawing, Making
from training.segmenter import enlarged, fresh, train_segmenter
from training.vocabulary import write_tokenizer

NAME, LICENCE = "inpaint-server-demo", "Apache-2.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """One training run, and where its pictures, checkpoints and finished models are kept.

    Attributes:
        making: Which bundle is trained, and how.
        folder: Outside version control; may be deleted when the bundle is finished.
        workers: Processes that draw.
        start: A finished bundle of the same sizes to go on from; its autoencoder is kept, and the other models go
            through their training at full size once more. None: everything is trained from nothing.
    """

    making: Making
    folder: Path
    workers: int = 2
    start: Path | None = None

    def drawn(self, drawing: Drawing) -> Composites:
        """A set of composites, drawn unless it is on disk."""
        return render(drawing.recipe, drawing.count, self.folder / "pictures" / drawing.name, workers=self.workers)

    def autoencoder(self) -> AutoencoderTiny:
        """The trained autoencoder."""
        folder = self.folder / "autoencoder"
        finished = folder / "model" if self.start is None else self.start / INPAINTING / "vae"
        if not finished.exists():
            making = self.making
            sets = [self.drawn(making.scenes[0]), self.drawn(making.photos)]
            pictures = np.concatenate([part for one in sets for part in (one.pixels, one.empty)])
            model = train_autoencoder(pictures, making.sizes, making.autoencoder, folder, crop=making.crop)
            model.save_pretrained(str(finished))
        return (
            AutoencoderTiny.from_pretrained(str(finished), local_files_only=True, dtype=torch.float32)
            .eval()
            .requires_grad_(False)
        )

    def diffusion(self) -> DiffusionModels:
        """The trained UNet with nine channels and text encoder."""
        making, folder = self.making, self.folder / "diffusion"
        if not (folder / "unet").exists():
            autoencoder = self.autoencoder()
            diffusion = (
                self._half_trained_diffusion(autoencoder)
                if self.start is None
                else self._load_diffusion(self.start / INPAINTING)
            )
            whole = [self._encoded(drawing, autoencoder) for drawing in making.scenes]
            train_diffusion(diffusion, whole, autoencoder, making.diffusion, folder)
            diffusion.text_encoder.save_pretrained(str(folder / "text_encoder"))
            diffusion.unet.save_pretrained(str(folder / "unet"))
        return self._load_diffusion(folder)

    def sam(self) -> Sam:
        """The trained Segment Anything."""
        making, folder = self.making, self.folder / "segmenter"
        config, finished = making.sizes.sam, folder / "model.safetensors"
        if not finished.exists():
            composites = Composites.joined([self.drawn(making.photos), self.drawn(making.scenes[0])])
            begun = self._half_trained_sam(composites) if self.start is None else _sam(config, self.start / SEGMENTER)
            whole = train_segmenter(composites, begun, making.segmenter, folder)
            save_file({name: value.contiguous() for name, value in whole.state_dict().items()}, finished)
        return _sam(config, folder)

    def bundle(self, folder: Path) -> None:
        """Writes the finished models and their manifest into a bundle's folder."""
        diffusion, config = self.diffusion(), self.making.sizes.sam
        models = Models(
            autoencoder=self.autoencoder(),
            tokenizer=diffusion.tokenizer,
            text_encoder=diffusion.text_encoder,
            unet=diffusion.unet,
            sam=self.sam(),
            sam_config=config,
        )
        making = self.making
        with save_bundle(models, folder) as draft:
            write_manifest(
                draft,
                name=NAME,
                version=making.version,
                licence=LICENCE,
                native_size=making.sizes.canvas,
                guidance_scale=making.guidance_scale,
            )

    def _half_trained_diffusion(self, autoencoder: AutoencoderTiny) -> DiffusionModels:
        """UNet and text encoder, trained on canvases of half the size."""
        making, folder = self.making, self.folder / "diffusion"
        with seeded(making.diffusion.seed):
            blank = untrained(making.sizes, folder / "tokenizer")
        diffusion = DiffusionModels(unet=blank.unet, text_encoder=blank.text_encoder, tokenizer=blank.tokenizer)
        small = [self._encoded(making.scenes[0], autoencoder, halved=True)]
        train_diffusion(diffusion, small, autoencoder, making.diffusion_half, folder / "half")
        return diffusion

    def _load_diffusion(self, folder: Path) -> DiffusionModels:
        """UNet and text encoder of a finished stage or checkpoint, in single precision."""
        load: dict[str, Any] = {"local_files_only": True, "dtype": torch.float32}
        return DiffusionModels(
            unet=UNet2DConditionModel.from_pretrained(str(folder / "unet"), **load),
            text_encoder=CLIPTextModel.from_pretrained(str(folder / "text_encoder"), **load),
            # A new one: a tokenizer that was called keeps the padding and truncation of that call.
            tokenizer=write_tokenizer(self.folder / "diffusion" / "tokenizer"),
        )

    def _half_trained_sam(self, composites: Composites) -> Sam:
        """Segment Anything, trained on photos of half the size."""
        making, config = self.making, self.making.sizes.sam
        half = fresh(replace(config, image_size=config.image_size // 2), making.segmenter_half.seed)
        train_segmenter(composites, half, making.segmenter_half, self.folder / "segmenter" / "half")
        return enlarged(half, config)

    def _encoded(self, drawing: Drawing, autoencoder: AutoencoderTiny, *, halved: bool = False) -> Latents:
        cache = self.folder / "latents" / f"{drawing.name}{'-half' if halved else ''}.safetensors"
        composites = self.drawn(drawing).halved() if halved else self.drawn(drawing)
        return Latents.encode(composites, autoencoder, seed=drawing.recipe.seed, cache=cache)


def _sam(config: SamConfig, folder: Path) -> Sam:
    """Segment Anything of a finished stage or bundle, in single precision."""
    model = build_sam(config)
    model.load_state_dict({name: value.float() for name, value in load_file(folder / "model.safetensors").items()})
    return model
