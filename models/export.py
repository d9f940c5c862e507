"""A network as one file for other programs: python -m models.export RUN OUT.onnx|OUT.pt2

The file takes "image", the pixels of a photo, (H, W, 3) uint8 RGB of any height and width from 2
on, and gives "logits", (C, H, W) float32 at that size, whose largest along C is the label. Resizing
and normalisation are inside. The labels' names are its metadata "labels", a JSON list: of ONNX a
property, of .pt2 an extra file. ONNX needs the packages onnx and onnxscript; .pt2 PyTorch alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.checkpoint import load_checkpoint, model_from_checkpoint
from models.prediction import MOST_TIMES, View
from runtime.command_line import CommandParser, run_command
from runtime.files import replacing, unwritable
from runtime.run_folder import find_checkpoint


class _WholePath(nn.Module):
    """From a photo to logits of its size, as a ``Predictor`` with ``plain`` goes."""

    def __init__(self, model: nn.Module, view: View) -> None:
        super().__init__()
        self.model, self.view = model, view

    def forward(self, image: Tensor) -> Tensor:
        """(H, W, 3) uint8 -> (C, H, W) float32."""
        H, W = image.shape[0], image.shape[1]
        stride = getattr(self.model, "stride", 1)
        h: Any = self.view.height  # or a torch.SymInt, which is taken wherever an int is
        w: Any = self.view.width
        if shorter := self.view.shorter_side:  # View.size_of, in whole numbers, to be traced
            times = MOST_TIMES * shorter
            part = torch.sym_max(MOST_TIMES * torch.sym_min(H, W), torch.sym_max(H, W))
            h, w = (torch.sym_max(1, (2 * times * side + part) // (2 * part)) for side in (H, W))
        # Padded here, since the network would ask whether it must; and cut by indices, since a
        # slice would ask whether it is all. Each answer would be a guard that refuses photos.
        bottom, right = ((side + stride - 1) // stride * stride for side in (h, w))
        pixels = image.permute(2, 0, 1).double()
        for dim, size, padded in ((2, w, right), (1, h, bottom)):
            pixels = _resized(pixels, dim, size, padded)
        logits = self.model(pixels[None].float() / 255)
        logits = logits.index_select(2, torch.arange(h)).index_select(3, torch.arange(w))
        return F.interpolate(logits, (H, W), mode="bilinear")[0]


def _resized(pixels: Tensor, dim: int, size: int, padded: int) -> Tensor:
    """Pixels (3, H, W) resized in a dimension as PyTorch resizes bytes, the last one repeated.

    Bilinear with antialiasing, by weights of 16 bits. ONNX has it only with those of floats, which
    makes one pixel in some hundreds another.
    Source: compute_index_ranges_int16_weights in PyTorch's aten/src/ATen/native/cpu.
    """
    length = pixels.shape[dim]
    old, new = (torch.full((1,), side, dtype=torch.float64) for side in (length, size))
    places = torch.arange(length, dtype=torch.float64) + 0.5
    wanted = torch.arange(padded, dtype=torch.float64)[:, None].minimum(new - 1) + 0.5
    scale = old / new
    weights = (1 - (places - wanted * scale).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights / weights.sum(1, keepdim=True)  # (padded, length)
    unit = torch.exp2(torch.log2((2**15 - 0.5) / weights.max()).floor().clamp(max=22))
    weights = (weights * unit + 0.5).floor()
    sums = weights @ pixels if dim == 1 else pixels @ weights.T
    return (sums / unit + 0.5).floor()


def export(run: Path, output: Path) -> int:
    """Write the network of a checkpoint to ``output``, whole or not at all."""
    checkpoint = load_checkpoint(find_checkpoint(run, "best.pt"))
    view = View.of_checkpoint(checkpoint)
    if view.shorter_side and torch.__version__ < "2.14":  # 2.6 made a file that labels otherwise
        raise ValueError(f"networks trained with --crop need PyTorch 2.14, not {torch.__version__}")
    module = _WholePath(model_from_checkpoint(checkpoint), view).eval()
    photo = torch.zeros(view.height + 3, view.width + 5, 3, dtype=torch.uint8)  # of no special size
    sides = {"image": {0: torch.export.Dim("H", min=2), 1: torch.export.Dim("W", min=2)}}
    program = torch.export.export(module, (photo,), dynamic_shapes=sides)
    names = json.dumps([label["name"] for label in checkpoint["label_set"]["labels"]])
    with replacing(output) as temporary:
        if output.suffix == ".pt2":
            with temporary.open("wb") as file:
                torch.export.save(program, file, extra_files={"labels": names})
        else:
            onnx = torch.onnx.export(
                program, input_names=["image"], output_names=["logits"], dynamo=True, verbose=False
            )
            assert onnx
            onnx.model.metadata_props["labels"] = names
            onnx.save(temporary)
    print(output)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser("python -m models.export", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="checkpoint or run folder: its best")
    parser.add_argument("output", type=Path, metavar="OUT", help="file to write: .onnx or .pt2")
    args = parser.parse_args(argv)
    missing = [name for name in ("onnx", "onnxscript") if not find_spec(name)]
    if args.output.suffix not in (".onnx", ".pt2"):
        parser.error(f"{args.output}: expected a name that ends in .onnx or .pt2")
    if problem := unwritable(args.output.parent):
        parser.error(f"{args.output}: {problem}")
    if args.output.suffix == ".onnx" and missing:
        parser.error(f"{args.output}: ONNX needs pip install {' '.join(missing)}; or write a .pt2")
    return run_command(parser.prog, partial(export, args.run, args.output))


if __name__ == "__main__":
    raise SystemExit(main())
