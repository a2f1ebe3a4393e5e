# SPDX-License-Identifier: Apache-2.0
"""The message classes of proto/agihpc.proto, in a pool of their own: an application may have generated code for the
same file without a clash. A descriptor set instead of generated Python works with every protobuf runtime."""

import os

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from agihpc import _compile

_HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = "agihpc.v1"


def _descriptor_set():
    built = os.path.join(_HERE, _compile.COMPILED)
    if os.path.exists(built):
        with open(built, "rb") as f:
            return f.read()
    proto = os.path.normpath(os.path.join(_HERE, "..", "..", "..", "proto", _compile.PROTO))
    if not os.path.exists(proto):
        raise ImportError(f"agihpc is not installed completely: neither {built} nor {proto} is there")
    return _compile.descriptor_set(proto)


def _load_pool():
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(_descriptor_set()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _load_pool()


def message(name):
    """The class of one message, by its name in the .proto file."""
    descriptor = _POOL.FindMessageTypeByName(f"{PACKAGE}.{name}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(_POOL).GetPrototype(descriptor)  # before protobuf 4.22


def levels():
    """{"quorum": 2, ...}: the enum Level without its prefix."""
    enum = _POOL.FindEnumTypeByName(f"{PACKAGE}.Level")
    return {v.name[len("LEVEL_"):].lower(): v.number for v in enum.values}
