# SPDX-License-Identifier: Apache-2.0
"""What lies in a node's store, read past the node: RocksDB's own library opens it for reading."""

import ctypes
import ctypes.util
import os
import tempfile

from tap import Skip

FAMILIES = (b"default", b"items", b"strong")  # base/storage.h


def _library():
    name = ctypes.util.find_library("rocksdb")
    if not name:
        raise Skip("librocksdb is linked in statically: nobody but the node can read its store")
    lib = ctypes.CDLL(name)
    for function, result in (("rocksdb_options_create", ctypes.c_void_p), ("rocksdb_readoptions_create", ctypes.c_void_p),
                             ("rocksdb_open_for_read_only_column_families", ctypes.c_void_p),
                             ("rocksdb_create_iterator_cf", ctypes.c_void_p), ("rocksdb_iter_valid", ctypes.c_ubyte),
                             ("rocksdb_iter_key", ctypes.POINTER(ctypes.c_char))):
        getattr(lib, function).restype = result
    return lib


def _keys_of(lib, db, family):
    options = ctypes.c_void_p(lib.rocksdb_readoptions_create())
    it = ctypes.c_void_p(lib.rocksdb_create_iterator_cf(db, options, family))
    keys, length = [], ctypes.c_size_t()
    lib.rocksdb_iter_seek_to_first(it)
    while lib.rocksdb_iter_valid(it):
        keys.append(lib.rocksdb_iter_key(it, ctypes.byref(length))[:length.value])
        lib.rocksdb_iter_next(it)
    lib.rocksdb_iter_destroy(it)
    lib.rocksdb_readoptions_destroy(options)
    return keys


def keys(node):
    """Of all items and registers on the node's disk, dead ones too; None when it cannot be opened just now, as the node
    is at work."""
    lib, n = _library(), len(FAMILIES)
    with tempfile.TemporaryDirectory() as logs:
        options = ctypes.c_void_p(lib.rocksdb_options_create())
        lib.rocksdb_options_set_db_log_dir(options, logs.encode())
        handles, why = (ctypes.c_void_p * n)(), ctypes.c_char_p()
        db = ctypes.c_void_p(lib.rocksdb_open_for_read_only_column_families(
            options, os.path.join(node.data, "store").encode(), n, (ctypes.c_char_p * n)(*FAMILIES),
            (ctypes.c_void_p * n)(*[options] * n), handles, ctypes.c_ubyte(0), ctypes.byref(why)))
        found = None
        if not why.value:
            found = [k for family in handles[1:] for k in _keys_of(lib, db, ctypes.c_void_p(family))]
            for family in handles:
                lib.rocksdb_column_family_handle_destroy(ctypes.c_void_p(family))
            lib.rocksdb_close(db)
        lib.rocksdb_options_destroy(options)
    return found
