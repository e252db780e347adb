// Verify a policy: go run . POLICY [ADDRESS]
//
// Generate the contract's code first, with buf from this project's .venv:
//
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.6
//	go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1
//	buf generate ../../../proto --template buf.gen.yaml && go mod tidy
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	typev1 "example.com/quintain-verify/gen/quintain/type/v1"
	verifierv1 "example.com/quintain-verify/gen/quintain/verifier/v1"
)

// Spread calls over all replicas, and repeat what the contract allows to repeat: the same request joins its run.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [{
    "name": [{"service": "quintain.verifier.v1.Verifier"}],
    "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "5s", "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"]}
  }]
}`

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: go run . POLICY [ADDRESS]")
	}
	source, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	address := "127.0.0.1:7071"
	if len(os.Args) > 2 {
		address = os.Args[2]
	}
	connection, err := grpc.NewClient("dns:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(serviceConfig))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()

	stream, err := verifierv1.NewVerifierClient(connection).Verify(ctx, &verifierv1.VerifyRequest{
		Simulator: "faas",
		Suite:     "smoke",
		Policy:    &typev1.Policy{Source: string(source)},
	})
	if err != nil {
		log.Fatal(err)
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil { // the caller's or the machine's fault; a policy that fails is a result
			log.Fatal(err)
		}
		if verdict := response.GetResult().GetVerdict(); verdict != nil {
			train := verdict.GetTrain() // absent if no train scenario was asked for; its getters then say 0
			fmt.Printf("%s: score %.4f, baseline %.4f\n", verdict.Status, train.GetScore(), train.GetBaselineScore())
		}
	}
}
