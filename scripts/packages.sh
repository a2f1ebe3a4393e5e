# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
# The Debian packages (bookworm) this project needs, and what each is for. Read by scripts/lib.sh.

# To build, and for the man pages and tools that come out of it.
AGI_PACKAGES_BUILD="
build-essential          : C compiler and make
autoconf                 : makes ./configure
automake                 : makes Makefile.in, brings the TAP test driver
pkg-config               : finds the libraries
libsodium-dev            : Ed25519, X25519, ChaCha20-Poly1305, BLAKE2b
libevent-dev             : event loops, timers, names
libprotobuf-c-dev        : protobuf messages in C
protobuf-c-compiler      : protoc-c, .proto to C
libprotobuf-dev          : google/protobuf/descriptor.proto, which protobuf-c's options import
protobuf-compiler        : protoc, makes the descriptors that reflection serves and the Python test stubs
librocksdb-dev           : the store
libnghttp2-dev           : HTTP/2 under gRPC
zlib1g-dev               : gzip-compressed gRPC messages
libssl-dev               : TLS
uthash-dev               : hash tables inside structs
libyaml-dev              : configuration files
libjansson-dev           : JSON
libcmocka-dev            : unit tests
"

# To run the demonstration of ./quickstart: a Python gRPC client that is not ours.
AGI_PACKAGES_DEMO="
python3                  : small test services, the gRPC client's language
python3-grpcio           : a gRPC implementation that is not ours
python3-protobuf         : its messages
"

# To run ./check on top of the two lists above.
AGI_PACKAGES_CHECK="
clang                    : a second compiler's opinion
libclang-rt-14-dev       : its sanitizers and fuzzer
gnuplot-nox              : the plots of agihpc-sim
openssl                  : makes the certificates of the TLS tests
iproute2                 : network namespaces, one per host of the partition tests
nftables                 : cuts links between them
faketime                 : sets one process's clock wrong
curl                     : an HTTP client that is not ours
mandoc                   : lint of the man pages
shellcheck               : lint of the shell scripts
spin                     : explores the model of the protocol (tests/model)
python3-pip              : installs clients/python in a test
bind9-dnsutils           : dig, a DNS client
xz-utils                 : make distcheck packs with it
"

# What make bench-grpc (gRPC C++), bench-kv (etcd, Redis) and bench-dht (OpenDHT, libtorrent) measure beside this program,
# by hand.
AGI_PACKAGES_BENCH="
libgrpc++-dev            : the library that is measured beside ours
protobuf-compiler-grpc   : its code generator
etcd-server              : strong puts and gets beside ours
etcd-client              : finds its leader
redis-server             : quorum puts beside ours
libopendht-dev           : gets and puts beside ours
libtorrent-rasterbar-dev : gets and puts beside ours
"
