"""Layers are counted by type, as TensorRT 10 and 11 write them."""

import json

from compactor.gpu.engine_layers import layer_types


def layer(said, *, key="Format/Datatype", ends=("Inputs", "Outputs")):
    return {"Name": "l", "LayerType": "gemm", **{end: [{"Name": "x", key: said}] for end in ends}}


def counted(*layers):
    return layer_types(json.dumps({"Layers": list(layers), "Bindings": ["x"]}))


def test_types_of_tensorrt_10_are_read_from_the_format():
    assert counted(
        layer("Thirty-two wide channel vectorized row major Int8 format."),
        layer("Row major linear FP16 format"),
        layer("Half"),
        layer("Row major linear FP32"),
        layer("Row major linear BFloat16 format"),
        layer("Int64"),
    ) == {"fp16": 2, "int8": 1, "fp32": 1, "bf16": 1, "int64": 1}


def test_types_of_tensorrt_11_are_read_from_the_data_type_alone():
    split = layer("Half", key="DataType")
    split["Inputs"][0]["Format"] = "Row major linear FP32 format (kLINEAR)"
    assert counted(split, layer("Float", key="DataType")) == {"fp16": 1, "fp32": 1}


def test_a_layer_counts_by_what_it_reads_and_a_constant_by_what_it_gives():
    mixed = layer("Int8")
    mixed["Outputs"][0]["Format/Datatype"] = "Float"
    assert counted(mixed, layer("Half", ends=("Outputs",))) == {"int8": 1, "fp16": 1}


def test_what_the_engine_does_not_say_is_unknown():
    assert counted("a name alone", layer("N/A due to dynamic shapes"), {"Name": "l"}) == {"unknown": 3}
    assert layer_types("") == layer_types('{"Bindings": []}') == {}
