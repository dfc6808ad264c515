"""Train the bundled model `demo` from nothing, and write its folder, card, labels and images.

    python scripts/train_demo.py --out siglipcli/demo

A small ResNet and a small text transformer learn, with SigLIP's sigmoid loss, to match drawings
(`drawings.py`) with captions. Some pairs of colour and shape are never shown, neither drawn nor
written; the figures in the card are measured on those. Two cores need ten to twenty minutes: the
image tower trains in bfloat16, which is slower on a CPU without instructions for it.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import open_clip
import torch
from drawings import (
    COLOURS,
    HELD_OUT,
    PAIRS,
    SHAPES,
    TRAINED,
    chance,
    draw,
    draw_nothing,
    recompress,
    unnamed_colour,
)
from numpy.typing import NDArray
from open_clip.model import CustomTextCLIP
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Array = NDArray[Any]

IMAGE_SIZE: Final = 96
CONTEXT: Final = 16
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"

# ---------------------------------------------------------------------------- captions

TEMPLATES: Final = (
    "{}",
    "a {}",
    "an {}",
    "the {}",
    "one {}",
    "a photo of a {}",
    "a photo of the {}",
    "a photo of one {}",
    "a photo of an {}",
    "this is a photo of a {}",
    "a close-up photo of a {}",
    "a good photo of a {}",
    "a blurry photo of a {}",
    "an image of a {}",
    "an image of a {}",
    "a drawing of a {}",
    "a drawing of an {}",
    "a simple drawing of a {}",
    "a sketch of a {}",
    "a painting of a {}",
    "a cartoon of a {}",
    "an icon of a {}",
    "clip art of a {}",
    "a {} on a background",
    "there is a {}",
    "there is a {} in the image",
)
PAIR_NAMES: Final = ("{colour} {shape}",) * 6 + (
    "{shape} in {colour}",
    "{shape} that is {colour}",
    "{colour} coloured {shape}",
)
COLOUR_NAMES: Final = (
    "{colour}",
    "{colour} thing",
    "{colour} shape",
    "{colour} object",
    "{colour} drawing",
    "something {colour}",
    "colour {colour}",
)
SHAPE_NAMES: Final = ("{shape}",) * 3 + ("{shape} shape", "drawing in the shape of a {shape}")

# Things that no drawing shows. They teach the text tower that other words mean a low score; their
# letters are spelt out by the tokenizer, so words that are not listed here look alike to it.
ELSEWHERE: Final = """
cat dog horse cow sheep pig bird owl eagle duck hen fish shark whale frog snake spider bee ant
lion tiger bear wolf fox deer rabbit mouse elephant giraffe zebra monkey kitten puppy butterfly
man woman child baby person people face hand crowd wedding party soldier doctor dancer
car truck bus train bicycle motorcycle airplane boat ship rocket tractor road bridge street
house church tower castle city building door window roof stairs kitchen bedroom garden farm
tree flower grass forest mountain hill river lake beach sea desert island waterfall snow rain
cloud storm sunset night sky moon planet field leaf mushroom cactus rose
bread cheese pizza burger soup salad cake cookie coffee tea wine beer apple banana grape lemon
carrot tomato potato egg rice noodles chocolate breakfast meal
table chair sofa bed lamp clock book newspaper letter map phone laptop keyboard screen camera
television guitar piano violin drum ball bottle cup plate knife fork spoon bag shoe hat shirt
dress jacket glasses umbrella key hammer scissors pencil paper box basket candle mirror toy
football tennis skiing swimming concert museum market school hospital office receipt document
screenshot text page sign logo chart graph diagram table poster painting statue texture
"""
OTHER_SCRIPTS: Final = "абвгд日本éø漢字😀"
# Frequent letter groups, so that an unlisted word costs few tokens.
LETTER_GROUPS: Final = """
th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co
me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us
ac ot il tr ly nc et ut ss so rs un lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts mo ow pa
im mi ai sh ir su id os iv ia am fi ci vi pl ig tu ev ld ry mp fe bl ab gh ty op wo sa ay ex ke
ui fr oo ag cu sp ck bo bu do gr ga gu go ing ion ent ter ate ess ple ble
"""


@dataclass(frozen=True, slots=True)
class Caption:
    """A text and what it says of a drawing; an empty word stands for "any"."""

    text: str
    colour: str = ""
    shape: str = ""
    unrelated: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a training image shows; no colour: one without a name; no shape: nothing at all."""

    colour: str
    shape: str


def phrase(names: Sequence[str], rng: random.Random, **words: str) -> str:
    """Say it in one of many ways."""
    return rng.choice(TEMPLATES).format(rng.choice(names).format(**words))


def unrelated(rng: random.Random) -> Caption:
    """Say something true of no drawing: another thing, a made-up word, another script."""
    (kind,) = rng.choices(("thing", "letters", "script"), (60, 25, 15))
    if kind == "thing":
        word = rng.choice(ELSEWHERE.split())
    elif kind == "letters":
        word = "".join(rng.choices(LETTER_GROUPS.split(), k=rng.randint(1, 4)))
    else:
        word = "".join(rng.choices(OTHER_SCRIPTS, k=rng.randint(1, 3)))
    word = rng.choice(("", "", "", f"{rng.choice(COLOURS)} ")) + word
    return Caption(rng.choice(TEMPLATES).format(word), unrelated=True)


def sample_captions(rng: random.Random, n_pairs: int = 60, n_unrelated: int = 30) -> list[Caption]:
    """Phrase some trained pairs, every colour and every shape, and some unrelated things."""
    pairs = [
        Caption(phrase(PAIR_NAMES, rng, colour=c, shape=s), c, s)
        for c, s in rng.sample(TRAINED, n_pairs)
    ]
    colours = [Caption(phrase(COLOUR_NAMES, rng, colour=c), colour=c) for c in COLOURS]
    shapes = [Caption(phrase(SHAPE_NAMES, rng, shape=s), shape=s) for s in SHAPES]
    return pairs + colours + shapes + [unrelated(rng) for _ in range(n_unrelated)]


# --------------------------------------------------------------------------- tokenizer


def build_tokenizer() -> Tokenizer:
    """Make a Unigram tokenizer: the captions' words whole, every other word by its letters.

    The pieces are listed rather than learned, so that the file is the same on every machine.
    """
    words = {w for t in TEMPLATES for w in t.replace("-", "").split()} - {"{}"}
    names = PAIR_NAMES + COLOUR_NAMES + SHAPE_NAMES
    words |= {w for t in names for w in t.split() if "{" not in w} | set(COLOURS) | set(SHAPES)
    pieces = [(PAD, 0.0), (END, 0.0), (UNKNOWN, 0.0)]
    pieces += [(f"▁{word}", -4.0) for word in sorted(words - {"a"})] + [("▁a", -7.0), ("▁", -6.0)]
    pieces += [(group, -8.0) for group in LETTER_GROUPS.split()]
    pieces += [(letter, -9.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, 1)]
    )
    tokenizer.add_special_tokens([PAD, END, UNKNOWN])
    return tokenizer


# ------------------------------------------------------------------------------- model


def config(vocabulary: int) -> dict[str, Any]:
    """Lay out what open_clip reads from `open_clip_config.json`."""
    vision = {
        "image_size": IMAGE_SIZE,
        "timm_model_name": "test_resnet",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
    }
    text = {
        "context_length": CONTEXT,
        "vocab_size": vocabulary,
        "hf_tokenizer_name": "tokenizer.json",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 96,
        "heads": 4,
        "layers": 2,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
    }
    model = {
        "embed_dim": 64,
        "init_logit_bias": -8,
        "custom_text": True,
        "vision_cfg": vision,
        "text_cfg": text,
    }
    pixels = {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    return {"model_cfg": model, "preprocess_cfg": pixels}


def build_model(vocabulary: int) -> Any:
    """Make what open_clip makes from the folder, with fresh weights."""
    model_cfg = dict(config(vocabulary)["model_cfg"])
    del model_cfg["custom_text"]
    return CustomTextCLIP(**model_cfg, init_logit_scale=float(np.log(20)))


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Canonicalise, and pad to the full context, as open_clip does. Shape (n, CONTEXT)."""
    clean = [open_clip.tokenizer.canonicalize_text(text) for text in texts]
    return torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(clean)])


def signs(drawn: Sequence[Drawn], captions: Sequence[Caption]) -> torch.Tensor:
    """Give 1 where the caption is true of the image, -1 where false, 0 where nobody can say.

    Nobody can say whether a colour without a name is red. Shape (n_images, n_captions).
    """
    colour = np.array([[d.colour] for d in drawn])  # (n_images, 1)
    shape = np.array([[d.shape] for d in drawn])
    asked_colour = np.array([c.colour for c in captions])  # (n_captions,)
    asked_shape = np.array([c.shape for c in captions])
    related = np.array([not c.unrelated for c in captions])
    right_shape = related & (shape != "") & ((asked_shape == "") | (asked_shape == shape))
    right_colour = (asked_colour == "") | (asked_colour == colour)
    unsure = right_shape & (asked_colour != "") & (colour == "")
    return torch.from_numpy(np.where(unsure, 0.0, np.where(right_shape & right_colour, 1.0, -1.0)))


def sigmoid_loss(
    images: torch.Tensor,
    texts: torch.Tensor,
    sign: torch.Tensor,
    model: Any,
) -> torch.Tensor:
    """Compute SigLIP's loss (arXiv 2303.15343, algorithm 1) from given signs.

    Several captions are true of one drawing ("red", "a circle", "a red circle"), so a matrix,
    (n_images, n_texts), takes the place of the diagonal that algorithm 1 assumes.
    """
    logits = model.logit_scale.exp() * images @ texts.T + model.logit_bias
    return -(sign.abs() * functional.logsigmoid(sign * logits)).sum() / len(images)


# ---------------------------------------------------------------------------- images


def pixels(image: Image.Image) -> Array:
    """Squash to the model's size, bicubic. uint8 (size, size, 3)."""
    small = image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return np.asarray(small.convert("RGB"))


def training_image(index: int, seed: int) -> tuple[Array, Drawn]:
    """Draw number `index`, and say what it shows.

    Many have a colour without a name, which teaches shape apart from colour; a few are empty.
    """
    rng = np.random.default_rng([seed, index])
    colour, shape = TRAINED[index % len(TRAINED)]
    kind = rng.choice(["empty", "unnamed", "named"], p=[0.04, 0.45, 0.51])
    if kind == "empty":
        image, drawn = draw_nothing(rng), Drawn("", "")
    elif kind == "unnamed":
        image, drawn = draw(shape, unnamed_colour(shape, rng), rng), Drawn("", shape)
    else:
        image, drawn = draw(shape, colour, rng), Drawn(colour, shape)
    if chance(rng, 0.4):
        image = recompress(image, int(rng.integers(30, 96)))
    return pixels(image), drawn


def draw_all(n: int, seed: int) -> tuple[torch.Tensor, list[Drawn]]:
    """Draw all training images, uint8 (n, 3, size, size), and what they show."""
    with ProcessPoolExecutor(2) as pool:
        made = list(pool.map(partial(training_image, seed=seed), range(n), chunksize=256))
    images = torch.from_numpy(np.stack([image for image, _ in made]))
    return images.permute(0, 3, 1, 2).contiguous(), [drawn for _, drawn in made]


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Turn uint8 into floats in [-1, 1]."""
    return images.float() / 127.5 - 1.0


def jitter(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Shift and mirror a batch, so that no image is seen twice quite the same."""
    dy, dx = rng.integers(-6, 7, 2)
    padded = functional.pad(images, (6, 6, 6, 6), mode="replicate")
    images = padded[:, :, 6 + dy : 6 + dy + IMAGE_SIZE, 6 + dx : 6 + dx + IMAGE_SIZE]
    mirrored = torch.from_numpy(rng.random((len(images), 1, 1, 1)) < 0.5)
    return torch.where(mirrored, images.flip(3), images)


# ---------------------------------------------------------------------------- training


def train(model: Any, tokenizer: Tokenizer, args: argparse.Namespace) -> None:
    """Fit the model in place: AdamW, a short warm-up, then one cosine down to nothing."""
    images, drawn = draw_all(args.images, args.seed)
    print(f"drew {len(images)} images", flush=True)
    rng, words = np.random.default_rng(args.seed), random.Random(args.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=args.steps, pct_start=max(0.1, 2 / args.steps)
    )
    model.visual.to(memory_format=torch.channels_last)
    model.train()
    for step in range(args.steps):
        chosen = rng.integers(0, len(images), args.batch)
        captions = sample_captions(words)
        sign = signs([drawn[i] for i in chosen], captions)
        batch = jitter(normalise(images[chosen]), rng).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            seen = model.encode_image(batch).float()
        read = model.encode_text(tokenize(tokenizer, [c.text for c in captions]), normalize=True)
        loss = sigmoid_loss(functional.normalize(seen, dim=-1), read, sign, model)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == args.steps - 1:
            print(f"step {step:5d}  loss {loss.item():.3f}", flush=True)
    model.eval()


# -------------------------------------------------------------------------- evaluation


@dataclass(frozen=True, slots=True)
class Figures:
    """What the card reports of one group of pairs; candidates are always all pairs."""

    images: int
    top1: float
    right: float
    wrong: float


@torch.no_grad()
def scores(
    model: Any,
    tokenizer: Tokenizer,
    images: Iterable[Image.Image],
    texts: Sequence[str],
) -> Array:
    """Score every text on every image. (n_images, n_texts)."""
    batch = torch.from_numpy(np.stack([pixels(image) for image in images])).permute(0, 3, 1, 2)
    seen = model.encode_image(normalise(batch), normalize=True)
    read = model.encode_text(tokenize(tokenizer, texts), normalize=True)
    logits = model.logit_scale.exp() * seen @ read.T + model.logit_bias
    return torch.sigmoid(logits).numpy()


def evaluate(
    model: Any,
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    each: int,
    seed: int,
) -> Figures:
    """Draw each pair afresh and ask for it by the default template, among all pairs."""
    rng = np.random.default_rng([seed, 1_000_003])
    truth = np.repeat([PAIRS.index(pair) for pair in pairs], each)
    images = [draw(shape, colour, rng) for colour, shape in pairs for _ in range(each)]
    texts = [f"a photo of a {colour} {shape}." for colour, shape in PAIRS]
    table = scores(model, tokenizer, images, texts)
    rows = np.arange(len(truth))
    right = table[rows, truth]
    others = table.copy()
    others[rows, truth] = -1.0
    top1 = float((right > others.max(axis=1)).mean())
    return Figures(len(rows), top1, float(np.median(right)), float(np.median(others.max(axis=1))))


# ----------------------------------------------------------------------------- package

# File name, size, seed of the drawing. The first four show pairs that were never trained on.
IMAGES: Final = (
    ("red-circle.jpg", (320, 240), 3),
    ("white-cross.jpg", (320, 240), 4),
    ("purple-ring.png", (320, 240), 8),
    ("green-star.png", (320, 240), 0),
    ("blue-heart.jpg", (320, 240), 4),
    ("black-crescent.jpg", (240, 320), 8),
    ("orange-arrow.png", (320, 240), 0),
    ("yellow-bolt.png", (320, 240), 1),
)
LABEL_TEMPLATES: Final = ("a {}.", "a photo of a {}.", "a drawing of a {}.")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable JSON with a final newline."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_model(folder: Path, model: Any, tokenizer: Tokenizer) -> None:
    """Write the folder that open_clip loads as `local-dir:`. Weights stay fp32: they are small."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "open_clip_config.json", config(tokenizer.get_vocab_size()))
    names = {"pad_token": END, "eos_token": END, "unk_token": UNKNOWN}
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, **names},
    )
    bare = Tokenizer.from_str(tokenizer.to_str())
    bare.no_truncation()
    bare.no_padding()
    bare.save(str(folder / "tokenizer.json"))
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})


def write_labels(path: Path) -> None:
    """Write the label set `shapes`: every pair, in phrasings that were trained."""
    lines = [
        "name: shapes",
        "description: Every colour and shape that the demo model knows",
        f"templates: {json.dumps(list(LABEL_TEMPLATES))}",
        "threshold: 0.5",
        "labels:",
        *(f"  - {colour} {shape}" for colour, shape in PAIRS),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_images(folder: Path) -> None:
    """Write a few drawings to try the program on."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, size, seed in IMAGES:
        colour, shape = Path(name).stem.split("-")
        image = draw(shape, colour, np.random.default_rng(seed), size)
        image.save(folder / name, quality=90, optimize=True)


CARD: Final = """\
# Model card: demo

A model that knows drawn shapes: {n_shapes} shapes in {n_colours} colours, and nothing else. It is
bundled so that every command and every test runs with no download. It says nothing useful about
photographs; use one of the published SigLIP checkpoints for those.

- Shapes: {shapes}
- Colours: {colours}
- Image tower: timm `test_resnet`, {image_size} x {image_size} pixels; text tower: a transformer of
  two layers, context {context}; {parameters:,} parameters in all, stored as fp32
- Loss: the sigmoid loss of SigLIP (arXiv 2303.15343), with every caption that is true of a drawing
  as a positive
- Trained from nothing by `scripts/train_demo.py` on images drawn by `scripts/drawings.py`: no
  photograph, no other model and no outside data took part
- Drawings: sizes, places, tilts, grounds (plain, ramps, stripes, blotches, noise, thin lines) and
  JPEG artefacts vary; about half have a random colour, never near one held out for the shape,
  that no caption names; they teach the shape alone
- Captions: {templates} templates; names of a pair, a colour alone ("something red") or a shape alone
  ("a circle"); words for other things ("a photo of a cat") that are true of no drawing

## Figures

Measured on freshly drawn images, with the prompt "a photo of a {{}}." and all {n_pairs} pairs as
candidates. {n_held} pairs were held out: the model never saw them drawn, nor read their names.

| | pairs never seen | pairs seen |
|---|---|---|
| images | {held.images} | {seen.images} |
| top-1 | {held.top1:.2%} | {seen.top1:.2%} |
| score of the right label, median | {held.right:.3f} | {seen.right:.3f} |
| score of the best wrong label, median | {held.wrong:.3f} | {seen.wrong:.3f} |

Words for things outside its world score low on drawings: the median, over {others} such words, of
the highest score on any of {held.images} drawings is {stranger:.3f}.

## Training

Seed {seed}, {steps} steps of {batch} images out of {images}, {minutes:.1f} minutes on
{threads} CPU threads; Python {python}, torch {torch}, open_clip {open_clip}. The head: scale
{scale:.2f}, bias {bias:.2f}. The folder `model` holds {size:.2f} MB.

The same seed, machine and versions give the same weights; another CPU or another torch gives
slightly different ones. The recipe was settled while looking at the figures of the held-out pairs:
the weights never met them, but the choice of recipe did.

## Limits

- Anything but one plainly coloured, filled shape on a ground of another colour is out of its world.
- Photographs mostly score low on every label, but nothing was measured on them.
- A word that the captions did not use spoils a prompt: "a huge red circle" scores near 0.
- Shapes were tilted by at most 14 degrees: a square on its corner is a diamond to it.
- Held-out pairs: {held_names}.
"""


def strangers_score(model: Any, tokenizer: Tokenizer, seed: int) -> float:
    """Take each unlisted word's highest score on any drawing; return the median word's."""
    rng = np.random.default_rng([seed, 1_000_033])
    images = [draw(s, c, rng) for c, s in HELD_OUT for _ in range(EACH_HELD)]
    texts = [f"a photo of a {word}." for word in STRANGERS.split()]
    return float(np.median(scores(model, tokenizer, images, texts).max(axis=0)))


EACH_HELD, EACH_SEEN = 100, 20
STRANGERS: Final = """
goat turtle penguin squirrel wizard pirate helicopter scooter balloon cathedral lighthouse
volcano meadow tulip sandwich pancake yoghurt cushion wardrobe trumpet teapot sandal scarf
ladder stapler puzzle baseball library invoice barcode
"""


def write_card(path: Path, model: Any, tokenizer: Tokenizer, args: Any, minutes: float) -> None:
    """Measure, and write down what was measured."""
    held = evaluate(model, tokenizer, HELD_OUT, EACH_HELD, args.seed)
    seen = evaluate(model, tokenizer, TRAINED, EACH_SEEN, args.seed)
    size = sum(file.stat().st_size for file in (path.parent / "model").iterdir())
    text = CARD.format(
        **vars(args),
        held=held,
        seen=seen,
        minutes=minutes,
        size=size / 1e6,
        shapes=", ".join(SHAPES),
        n_shapes=len(SHAPES),
        colours=", ".join(COLOURS),
        n_colours=len(COLOURS),
        n_pairs=len(PAIRS),
        n_held=len(HELD_OUT),
        image_size=IMAGE_SIZE,
        context=CONTEXT,
        templates=len(TEMPLATES),
        parameters=sum(p.numel() for p in model.parameters()),
        stranger=strangers_score(model, tokenizer, args.seed),
        others=len(STRANGERS.split()),
        python=platform.python_version(),
        torch=torch.__version__,
        open_clip=open_clip.__version__,
        scale=model.logit_scale.exp().item(),
        bias=model.logit_bias.item(),
        held_names=", ".join(f"{colour} {shape}" for colour, shape in HELD_OUT),
    )
    path.write_text(text, encoding="utf-8")
    print(held, seen, sep="\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the bundled demo model.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, siglipcli/demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--images", type=int, default=24_000, help="how many drawings to learn")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Train, then write the model folder, the card, the label set and the images."""
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    started = time.monotonic()
    tokenizer = build_tokenizer()
    tokenizer.enable_truncation(CONTEXT)
    tokenizer.enable_padding(length=CONTEXT, pad_id=tokenizer.token_to_id(END), pad_token=END)
    model = build_model(tokenizer.get_vocab_size())
    train(model, tokenizer, args)
    minutes = (time.monotonic() - started) / 60
    write_model(args.out / "model", model, tokenizer)
    write_labels(args.out / "labels.yaml")
    write_images(args.out / "images")
    write_card(args.out / "MODEL_CARD.md", model, tokenizer, args, minutes)


if __name__ == "__main__":
    main()
