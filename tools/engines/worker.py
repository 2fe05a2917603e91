"""A Python worker of an engine that starts processes (--environment_type=PROCESS): what Beam's boot program does."""

import argparse

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
from apache_beam.runners.worker.sdk_worker import SdkHarness


def control_endpoint(worker: str, provision_endpoint: str) -> str:
    """Where the engine tells a worker what to do."""
    with grpc.insecure_channel(provision_endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        found = service.GetProvisionInfo(request, metadata=[("worker_id", worker)])
    return str(found.info.control_endpoint.url)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--id", required=True)
    parser.add_argument("--provision_endpoint", required=True)
    arguments, _ = parser.parse_known_args()
    SdkHarness(control_endpoint(arguments.id, arguments.provision_endpoint), worker_id=arguments.id).run()
