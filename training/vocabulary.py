"""The words the text encoder knows, and a tokenizer in CLIP's format learnt from them alone."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from training.sizes import TOKEN_LIMIT

START, END = "<|startoftext|>", "<|endoftext|>"

SCENES = """
alley autumn backdrop background bakery balcony bar bathroom beach bedroom bench blinds board boardwalk bokeh
book bookcase books bookshelf bookshelves brick bricks building buildings bush bushes cafe calm campfire
ceiling chair city cityscape cliff cloud clouds cloudy clear coast coffee concrete cottage couch counter
countertop country courtyard cupboard cupboards curtain curtains dawn daylight deck desert desk dirt dock
downtown dune dunes dusk evening fabric farm fence field fireplace floor flower flowers foliage forest
fountain garden gradient granite grass gravel ground hallway haze hill hills home horizon hotel house indoors
interior island jungle kitchen lake lamp lamps landscape lawn leaf leaves library light lights linen lobby
loft lounge lush marble market marina meadow midnight mist misty moon morning moss mountain mountains nature
neon night noon ocean office orchard outdoor outdoors park path patio pavement pebbles pier pine pines pink
plain plains plank planks plant plants plaster pond pool porch rain ranch restaurant river road rock rocks
rocky roof room rose rug sand sandy sea seaside shade shadow shelf shelves shop shore sidewalk silk sky
skyline skyscrapers slate slab snow snowy sofa spring square stairs star stars steps stone stones store storm
street studio summer sun sunlight sunny sunrise sunset surface table tabletop terrace tiled tile tiles tiling
top town tree trees tropical twilight underwater valley velvet view village vineyard wall wallpaper water
waterfall waves wild wilderness window windows winter wood wooden woodland woods workshop yard
"""

QUALITIES = """
abstract aged amazing back base beautiful beige big black blossom blue blurred blurry bold bright brown
burgundy charcoal clean close closeup coastal cold colorful colourful commercial cool copper coral cosy cozy
cream crisp cyan dark deep defocused dim dramatic dry dusty elegant empty far festive flat focus fresh front
full glossy gold golden gray green grey hazy high indigo ivory large lavender lemon lilac lit little long low
luxury magenta maroon matte mid mint minimal minimalist modern moody muted natural navy near neat neutral nice
oak off old olive orange ornate outside pale pastel peach peaceful pretty purple quiet red retro rough round
rustic sage scandinavian sepia sharp shiny silver simple sleek small smooth soft solid sparse tall tan teal
terracotta texture textured thick thin tiny turquoise vintage violet vivid walnut warm weathered wet white
wide worn yellow
"""

PHOTOGRAPHY = """
ad advert advertisement advertising angle art best camera catalog catalogue cinematic composition depth detail
detailed details dof dslr editorial effect exposure film foreground hd high hq hyperrealistic illustration
image lens lighting macro magazine mockup painting photo photograph photography photorealistic picture placed
poster product professional quality realistic render resolution scene scenery shallow shot still stock style
ultra uhd wallpaper
"""

PRODUCTS = """
bag boots bottle bowl box camera can candle cosmetics cup earphones glass handbag headphones jar laptop mug
parfum perfume phone saucer shoe shoes sneaker sneakers speaker standing teapot toy vase wallet watch
"""

GRAMMAR = """
a above against all along among an and around as at away before behind below beneath beside between beyond by
close distance distant down during few for from front full has in inside into is it its lots made many middle
more near next no of on one onto or other out over part per seen side sitting some the their there through to
toward towards two under up very which with without bad blurriness blurry cropped deformed distorted duplicate
low noise noisy ugly watermark text letters logo person people man woman hands
"""


def words() -> list[str]:
    """Every word that is one token, sorted, each once."""
    return sorted({word for group in (SCENES, QUALITIES, PHOTOGRAPHY, PRODUCTS, GRAMMAR) for word in group.split()})


def _byte_symbols() -> list[str]:
    """The 256 printable characters by which byte-level BPE writes the bytes, in CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + offset) for offset in range(len(others))]


def learn_merges(vocabulary: list[str]) -> list[tuple[str, str]]:
    """Learns byte-pair merges, the most frequent pair first, until each word is one symbol.

    Args:
        vocabulary: Lower-case ASCII words, each counted once.

    Returns:
        The merges in the order in which a tokenizer applies them; ties go to the pair that sorts first.
    """
    spelled = [[*word[:-1], word[-1] + "</w>"] for word in vocabulary]
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(pair for symbols in spelled for pair in pairwise(symbols))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = [_merge(symbols, best) for symbols in spelled]


def _merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def write_tokenizer(folder: Path) -> CLIPTokenizer:
    """Writes the tokenizer's files and loads it back, as any user of the bundle will.

    Args:
        folder: Made where it is missing; receives `vocab.json`, `merges.txt` and `tokenizer_config.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    merges = learn_merges(words())
    symbols = _byte_symbols()
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(pair) for pair in merges), START, END]
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TOKEN_LIMIT,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
    }
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges), ""]), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
