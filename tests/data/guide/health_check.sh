#!/bin/bash
# scripts/health_check.sh

SERVICES=(
  "lh-planner:50051"
  "safety-gateway:50055"
  "erisml-service:50060"
  "episodic-memory:50052"
  "semantic-memory:50053"
  "procedural-memory:50054"
)

for service in "${SERVICES[@]}"; do
  if grpcurl -plaintext $service grpc.health.v1.Health/Check > /dev/null 2>&1; then
    echo "✓ $service is healthy"
  else
    echo "✗ $service is unhealthy"
  fi
done
