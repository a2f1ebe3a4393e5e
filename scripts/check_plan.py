# SPDX-License-Identifier: Apache-2.0
"""Asks for a safety decision as any Python client would: grpcio and the published .proto files.

    python3 check_plan.py HOST:PORT PLAN.json PROTO_DIRECTORY

PLAN.json is an agi.plan.v1.PlanGraphProto in protobuf JSON. Prints the decision; the exit status is 0 when
the call was answered.
"""

import os
import subprocess
import sys
import tempfile

import grpc
from google.protobuf import json_format


def main():
    address, path, protos = sys.argv[1:]
    with tempfile.TemporaryDirectory() as generated:
        subprocess.run(["protoc", "-I" + protos, "--python_out=" + generated,
                        "plan.proto", "erisml.proto", "safety.proto"], check=True)
        sys.path.insert(0, generated)
        import plan_pb2
        import safety_pb2
    with open(path) as f:
        plan = json_format.Parse(f.read(), plan_pb2.PlanGraphProto())
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/agi.safety.v1.PreActionSafetyService/CheckPlan",
            request_serializer=safety_pb2.CheckPlanRequest.SerializeToString,
            response_deserializer=safety_pb2.CheckPlanResponse.FromString)
        answer = check(safety_pb2.CheckPlanRequest(plan=plan), timeout=5)
    name = safety_pb2.SafetyDecision.Name(answer.result.decision)
    print(name.replace("SAFETY_DECISION_", ""), *answer.result.reasons, sep="\n  ")


if __name__ == "__main__":
    main()
