"""ONNX files: written, described and run. The only module that imports ONNX and ONNX Runtime."""

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evoprune.common.errors import UserError, reason_of

_INSTALL = "`pip install 'evoprune[export]'` adds it"
_STATISTICS = 2
"""A batch norm's last inputs are mean and variance, which are no parameters."""


def to_onnx(program: torch.export.ExportedProgram, example: Tensor, facts: Mapping[str, str], fold: bool) -> bytes:
    """A whole ONNX file.

    Args:
        program: from `evoprune.tracing.graph.export`, of any batch size.
        example: images, as it was exported with.
        facts: metadata that the file is to carry, name -> text.
        fold: whether batch norms may become a part of convolutions; otherwise constants alone are simplified.

    Raises:
        UserError: an operator that ONNX has not, by its name; ONNX is not installed.
    """
    optimizer = _optimizer()
    try:
        with _quiet():
            made = torch.onnx.export(
                program,
                (example,),
                dynamo=True,
                optimize=fold,
                verbose=False,
                input_names=["images"],
                output_names=["outputs"],
            )
            assert made is not None
            if not fold:
                optimizer.fold_constants(made.model)
                optimizer.remove_unused_nodes(made.model)
    except Exception as error:  # the exporter raises errors of many kinds
        raise UserError(f"ONNX cannot express this network: {_reason(error)}; --format pt2 may") from error
    model = made.model_proto
    _forget_origin(model)
    for name, text in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, text
    content: bytes = model.SerializeToString()
    return content


def _forget_origin(model: Any) -> None:
    """Drop the exporter's notes, among them paths of this machine, and call the size that is open `batch`."""
    graph = model.graph
    nodes = [*graph.node, *(node for function in model.functions for node in function.node)]
    values = [*graph.input, *graph.output, *graph.value_info]
    for part in (graph, *model.functions, *nodes, *values, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    symbol = values[0].type.tensor_type.shape.dim[0].dim_param
    for dim in (dim for value in values for dim in value.type.tensor_type.shape.dim):
        if dim.dim_param and symbol:
            dim.dim_param = re.sub(rf"\b{re.escape(symbol)}\b", "batch", dim.dim_param)


class OnnxNetwork(nn.Module):
    """An ONNX file as a network on the CPU: images (batch, channels, height, width) -> outputs."""

    def __init__(self, content: bytes | Path, num_threads: int | None = None):
        """A file, or what is in it.

        Raises:
            UserError: no ONNX file; ONNX Runtime is not installed.
        """
        super().__init__()
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = num_threads or torch.get_num_threads()
        options.log_severity_level = 3
        given = content if isinstance(content, bytes) else str(content)
        self._name = "the ONNX file" if isinstance(content, bytes) else str(content)
        try:
            self._session = runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # each release raises classes of its own
            raise UserError(f"{self._name}: ONNX Runtime cannot read it: {reason_of(error)}") from None
        self._input = self._session.get_inputs()[0].name

    @property
    def facts(self) -> dict[str, str]:
        """The metadata that the file carries."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs of the file's network.

        Raises:
            UserError: it takes something else than any number of float32 images.
        """
        try:
            return torch.from_numpy(self.run(np.ascontiguousarray(images.numpy())))
        except Exception as error:  # each release raises classes of its own
            shape = "x".join(map(str, images.shape))
            raise UserError(
                f"{self._name}: ONNX Runtime cannot run it on float32 images of shape {shape}, which it is to take in "
                f"any number as its one input: {reason_of(error)}"
            ) from None

    def run(self, images: np.ndarray) -> np.ndarray:
        """As `forward`, on contiguous arrays: what a deployed network does."""
        outputs: np.ndarray = self._session.run(None, {self._input: images})[0]
        return outputs


def count_costs(file: Path) -> dict[str, int]:
    """Multiply-adds of one image, of convolutions and of products with weights, and parameters.

    Parameters are counted as the file has them: exporters fold norms, and may write biases of zeros.

    Raises:
        UserError: no ONNX file; ONNX is not installed.
    """
    onnx = _onnx()
    try:
        graph = onnx.shape_inference.infer_shapes(onnx.load(str(file))).graph
    except Exception as error:
        raise UserError(f"{file}: not an ONNX file: {reason_of(error)}") from None
    floats = {one.name: list(one.dims) for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
    statistics = {name for node in graph.node if node.op_type == "BatchNormalization"
                  for name in node.input[-_STATISTICS:]}  # fmt: skip
    constants = _constants(graph)
    sizes = {one.name: _sizes(one) for one in (*graph.value_info, *graph.input, *graph.output)} | floats
    return {
        "flops": sum(_multiply_adds(node, sizes) for node in graph.node if not _is_of_activations(node, constants)),
        "params": sum(int(np.prod(dims)) for name, dims in floats.items() if name not in statistics),
    }


def count_bytes(file: Path) -> int:
    """Size of a file, with those beside it that hold its weights."""
    onnx = _onnx()
    tensors = onnx.load(str(file), load_external_data=False).graph.initializer
    places = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    beside = [file.parent / Path(place).name for place in places]
    return file.stat().st_size + sum(path.stat().st_size for path in beside if path.is_file())


def _constants(graph: Any) -> set[str]:
    """Tensors that no input decides, such as weights and what is computed from them alone."""
    found = {one.name for one in graph.initializer}
    for node in graph.node:
        if all(name in found for name in node.input if name):
            found.update(node.output)
    return found


def _is_of_activations(node: Any, constants: set[str]) -> bool:
    """Whether a node multiplies activations by each other, as attention does."""
    return node.op_type == "MatMul" and not constants & {*node.input}


def _sizes(value: Any) -> list[int]:
    """Of a tensor; a size that is open, such as that of the batch, counts as 1."""
    return [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]


def _multiply_adds(node: Any, sizes: Mapping[str, list[int]]) -> int:
    """For each output as many as there are weights that it is a sum over."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    read, weight, made = (sizes.get(name, []) for name in (node.input[0], node.input[1], node.output[0]))
    if node.op_type == "Conv":
        return int(np.prod(made)) * int(np.prod(weight[1:]))
    if node.op_type == "ConvTranspose":
        return int(np.prod(read)) * int(np.prod(weight[1:]))
    return int(np.prod(made)) * (read[-1] if read else 0)


def is_installed() -> bool:
    """Whether ONNX files can be written and run here."""
    try:
        _optimizer(), _runtime()
    except UserError:
        return False
    return True


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise UserError(f"ONNX is not installed; {_INSTALL}") from None
    return onnx


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"ONNX Runtime is not installed; {_INSTALL}") from None
    return onnxruntime


def _optimizer() -> Any:
    """What simplifies a graph; torch's exporter needs it too."""
    try:
        import onnxscript.optimizer
    except ImportError:
        raise UserError(f"onnxscript, with which torch writes ONNX, is not installed; {_INSTALL}") from None
    return onnxscript.optimizer


@contextmanager
def _quiet() -> Iterator[None]:
    """What exporters log is for those who write exporters; what stops them is in the error."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reason(error: BaseException) -> str:
    """The operator that stopped the exporter, or what it says of itself."""
    texts, cause = [], error
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__  # type: ignore[assignment]
    found = re.findall(r"target=torch\.ops\.([\w.]+)", "\n".join(texts))
    if found:
        return f"it has no operator for {found[0].removesuffix('.default')}"
    return (texts[-1].strip().splitlines() or [type(error).__name__])[0]
