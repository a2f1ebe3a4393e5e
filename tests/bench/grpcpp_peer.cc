// SPDX-License-Identifier: Apache-2.0
// The method of the gRPC bench served by gRPC C++: what our server is compared with. Built by bench_grpc.sh.
//
//   grpcpp_peer async PATH     one completion queue, one thread, as the library's async examples do it
//   grpcpp_peer callback PATH  the callback API
//
// Listens on a port of 127.0.0.1, which it prints, and on the Unix-domain socket PATH; serves until it is killed.
#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "agihpc.grpc.pb.h"
#include "tests/bench/bench_grpc.h"

namespace {

using agihpc::v1::GetRequest;
using agihpc::v1::GetResponse;
using agihpc::v1::KvService;

const std::string &Value() {
  static const std::string value(BENCH_VALUE_BYTES, '\0');
  return value;
}

void Answer(const GetRequest &request, GetResponse *response) {
  response->set_value(Value());
  response->set_version(request.key().size() & 0x7f);
}

std::unique_ptr<grpc::Server> Start(grpc::ServerBuilder *builder, const char *path) {
  int port = 0;
  builder->AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder->AddListeningPort(std::string("unix:") + path, grpc::InsecureServerCredentials());
  std::unique_ptr<grpc::Server> server = builder->BuildAndStart();
  if (!server) exit(1);
  std::printf("%d\n", port);
  std::fflush(stdout);
  return server;
}

// One call that is waited for or answered; takes itself away when its answer is out.
class Call {
 public:
  Call(KvService::AsyncService *service, grpc::ServerCompletionQueue *queue)
      : service_(service), queue_(queue), writer_(&context_) {
    service_->RequestGet(&context_, &request_, &writer_, queue_, queue_, this);
  }

  void Proceed(bool ok) {
    if (is_answered_ || !ok) {
      delete this;
      return;
    }
    new Call(service_, queue_);
    Answer(request_, &response_);
    is_answered_ = true;
    writer_.Finish(response_, grpc::Status::OK, this);
  }

 private:
  KvService::AsyncService *service_;
  grpc::ServerCompletionQueue *queue_;
  grpc::ServerContext context_;
  GetRequest request_;
  GetResponse response_;
  grpc::ServerAsyncResponseWriter<GetResponse> writer_;
  bool is_answered_ = false;
};

void ServeAsync(const char *path) {
  KvService::AsyncService service;
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  std::unique_ptr<grpc::ServerCompletionQueue> queue = builder.AddCompletionQueue();
  std::unique_ptr<grpc::Server> server = Start(&builder, path);
  for (int i = 0; i < 1000; i++) new Call(&service, queue.get());  // as many as the load has at once
  void *tag;
  bool ok;
  while (queue->Next(&tag, &ok)) static_cast<Call *>(tag)->Proceed(ok);
}

class CallbackService final : public KvService::CallbackService {
  grpc::ServerUnaryReactor *Get(grpc::CallbackServerContext *context, const GetRequest *request,
                                GetResponse *response) override {
    Answer(*request, response);
    grpc::ServerUnaryReactor *reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

void ServeCallback(const char *path) {
  CallbackService service;
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  Start(&builder, path)->Wait();
}

}  // namespace

int main(int argc, char **argv) {
  if (argc == 3 && std::strcmp(argv[1], "async") == 0) {
    ServeAsync(argv[2]);
  } else if (argc == 3 && std::strcmp(argv[1], "callback") == 0) {
    ServeCallback(argv[2]);
  }
  std::fprintf(stderr, "usage: grpcpp_peer async PATH | grpcpp_peer callback PATH\n");
  return 2;
}
