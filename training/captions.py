"""What people type for a scene: the words of the repainted region, in the forms that prompts take."""

from collections.abc import Mapping

from numpy.random import Generator

from training.dataset import Words
from training.vocabulary import GRAMMAR, PHOTOGRAPHY

SINGLE = ("{}",) * 8 + (
    "a photo of {}",
    "{}, high quality",
    "product photo, {}",
    "{}, professional product photography",
    "{}, soft light",
    "photo of {}, detailed",
    "{} in the background",
    "{}, blurred background",
)
BELOW = ("{}",) * 8 + (
    "on {}",
    "standing on {}",
    "product photo on {}",
    "{}, high quality",
    "{}, soft light",
    "a product on {}, professional photography",
    "photo of {}, detailed",
)
JOINT = (
    "{below}, {above} in the background",
    "{below}, {above}",
    "{above}, {below} in the foreground",
    "product photo on {below}, {above} in the background",
    "{below} in front of {above}",
    "{below} with {above} behind",
)

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "couch": ("sofa",),
    "sea": ("ocean",),
    "ocean": ("sea",),
    "table": ("desk", "tabletop"),
    "wooden": ("wood",),
    "forest": ("woods", "woodland"),
    "grass": ("lawn", "meadow"),
    "beach": ("seaside",),
    "sand": ("sandy beach",),
    "bookshelf": ("bookcase", "book shelf"),
    "trees": ("green trees",),
    "street": ("road",),
    "stone": ("rock", "rough stone"),
    "fabric": ("textured fabric",),
    "cafe": ("coffee shop", "bar"),
    "brick": ("bricks",),
}
SYNONYM_SHARE = 0.2
FILLERS = (
    *("sunny day", "warm light", "natural light", "studio lighting", "shallow depth of field", "bokeh", "sharp focus"),
    *("modern", "rustic", "cozy", "elegant", "beautiful", "minimal style", "advertisement", "professional photo"),
    *("cinematic", "high resolution", "hd", "realistic", "photorealistic", "vintage", "calm", "clean", "empty"),
)
FILLER_SHARE = 0.2


def caption(rng: Generator, words: Words, region: str) -> str:
    """Words for one region of a composite.

    Args:
        rng: Chooses among the names and the forms.
        words: What the parts are called.
        region: 'lower', 'upper', or anything else for both.
    """
    below, above = _name(rng, words.surface), _name(rng, words.backdrop)
    if region == "lower" and below:
        return str(rng.choice(BELOW)).format(below)
    if region == "upper" and above:
        return str(rng.choice(SINGLE)).format(above)
    if not (below and above) or below == above:
        return str(rng.choice(SINGLE if above else BELOW)).format(above or below)
    return str(rng.choice(JOINT)).format(below=below, above=above)


def prompt(rng: Generator, words: Words, region: str) -> str:
    """A caption as a person might type it: other words for the same thing, and words that ask for nothing."""
    spoken = caption(rng, words, region).split(" ")
    for index, word in enumerate(spoken):
        bare = word.rstrip(",")
        if bare in SYNONYMS and rng.random() < SYNONYM_SHARE:
            spoken[index] = str(rng.choice(SYNONYMS[bare])) + word[len(bare) :]
    typed = " ".join(spoken)
    return f"{typed}, {rng.choice(FILLERS)}" if rng.random() < FILLER_SHARE else typed


def nothing(rng: Generator) -> str:
    """A prompt without a scene: empty, or words as negative prompts have them, which must ask for nothing."""
    if rng.random() < 0.5:
        return ""
    jumble = [*PHOTOGRAPHY.split(), *GRAMMAR.split()]
    return ", ".join(rng.choice(jumble, int(rng.integers(1, 7))))


def _name(rng: Generator, names: tuple[str, ...]) -> str:
    return str(rng.choice(names)) if names else ""
