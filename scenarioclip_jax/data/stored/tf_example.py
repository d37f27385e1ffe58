"""Reads `tf.train.Example`, the record format of TFDS, without importing TFDS or TensorFlow.

The message has had this form for ten years. Describing it here to protobuf, in its own pool, takes a
millisecond, while importing TFDS takes half a second.
"""

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_LISTS = {"bytes_list": "TYPE_BYTES", "float_list": "TYPE_FLOAT", "int64_list": "TYPE_INT64"}


@functools.cache
def _example_class() -> type:
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="e", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto

    def add(message, name, number, kind, type_name=None, repeated=False, **options):
        message.field.add(
            name=name,
            number=number,
            type=getattr(field, kind),
            type_name=type_name,
            label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
            **options,
        )

    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(_LISTS.items(), 1):
        add(file.message_type.add(name=name), "value", 1, kind, repeated=True)
        add(feature, name, number, "TYPE_MESSAGE", f".e.{name}", oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, "TYPE_STRING")
    add(entry, "value", 2, "TYPE_MESSAGE", ".e.Feature")
    add(features, "feature", 1, "TYPE_MESSAGE", ".e.Features.FeatureEntry", repeated=True)
    example = file.message_type.add(name="Example")
    add(example, "features", 1, "TYPE_MESSAGE", ".e.Features")

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("e.Example"))


def parse(serialized: bytes) -> Mapping[str, Sequence]:
    """Returns the values of an Example by feature name; a feature without values is an empty list.

    Raises:
      google.protobuf.message.DecodeError: `serialized` isn't an Example.
    """
    example = _example_class().FromString(serialized)
    values: dict[str, Sequence] = defaultdict(list)
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        if kind:
            values[name] = getattr(feature, kind).value[:]  # a list is faster to iterate over
    return values


def in_order(serialized: bytes) -> bytes:
    """Returns the same Example with its features in the order of their names.

    Protobuf writes them in an order that changes from process to process, so equal data sets would have
    different digests.
    """
    return _example_class().FromString(serialized).SerializeToString(deterministic=True)
