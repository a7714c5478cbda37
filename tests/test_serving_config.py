"""The configuration as TF Serving parses it, and the manifests that run it, against schemas and each other."""

import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from cnn_app.atomic import write_text
from cnn_app.errors import ServingError
from cnn_app.serving import store
from cnn_app.serving.store import config

DEPLOY = Path(__file__).parents[1] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
# Flags of tensorflow_serving/model_servers/main.cc in github.com/tensorflow/serving.
FLAGS = {
    "model_config_file", "model_config_file_poll_wait_seconds", "allow_version_labels_for_unavailable_models",
    "enable_batching", "batching_parameters_file", "monitoring_config_file", "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism", "port", "rest_api_port", "rest_api_timeout_in_ms", "enable_model_warmup",
    "file_system_poll_wait_seconds", "model_name", "model_base_path", "grpc_max_threads", "ssl_config_file",
}  # fmt: skip
# The messages that tensorflow-serving-api does not bring along, as numbered in tensorflow_serving/config/
# monitoring_config.proto and tensorflow_serving/servables/tensorflow/session_bundle_config.proto.
MESSAGES = {
    "PrometheusConfig": {"enable": (1, "TYPE_BOOL"), "path": (2, "TYPE_STRING")},
    "MonitoringConfig": {"prometheus_config": (1, ".tensorflow.serving.PrometheusConfig")},
    "BatchingParameters": {
        name: (number, ".google.protobuf.Int64Value")
        for number, name in enumerate(
            ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"), start=1
        )
    },
}


@pytest.fixture(scope="module")
def messages():
    """Classes of MESSAGES."""
    file = descriptor_pb2.FileDescriptorProto(
        name="serving.proto", package="tensorflow.serving", syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )  # fmt: skip
    for message, columns in MESSAGES.items():
        added = file.message_type.add(name=message)
        for name, (number, kind) in columns.items():
            field = added.field.add(name=name, number=number, label="LABEL_OPTIONAL")
            if kind.startswith("."):
                field.type, field.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, kind
            else:
                field.type = descriptor_pb2.FieldDescriptorProto.Type.Value(kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))
            for name in MESSAGES}  # fmt: skip


@pytest.fixture
def stores(tmp_path):
    """A store with labels, and a model directory with exports."""
    for version in (1, 2, 3, 4):
        for base in ("photos", "digits/serving"):
            (tmp_path / base / str(version)).mkdir(parents=True)
    write_text(tmp_path / "digits" / "card.json", "{}")
    store.label(tmp_path / "photos", {"stable": 1, "canary": 2})
    return [tmp_path / "photos", tmp_path / "digits"]


def test_models_with_their_versions_and_labels(stores, tmp_path):
    """Labelled versions and the highest are loaded, for TF Serving labels nothing that is not."""
    model_server_config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    files = config.write(stores, tmp_path / "out")
    assert [file.name for file in files] == ["models.config", "batching.config", "monitoring.config"]
    parsed = text_format.Parse(files[0].read_text(), model_server_config_pb2.ModelServerConfig())
    photos, digits = parsed.model_config_list.config
    assert (photos.name, photos.base_path, photos.model_platform) == ("photos", "/models/photos", "tensorflow")
    assert list(photos.model_version_policy.specific.versions) == [1, 2, 4]
    assert dict(photos.version_labels) == {"stable": 1, "canary": 2}
    assert (digits.name, digits.base_path) == ("digits", "/models/digits") and not digits.version_labels
    assert digits.model_version_policy.latest.num_versions == 1
    config.write(stores[1:], tmp_path / "out", "s3://bucket/models/")
    assert 'base_path: "s3://bucket/models/digits"' in files[0].read_text()


def test_batching_and_monitoring(stores, tmp_path, messages):
    _, batching, monitoring = config.write(stores, tmp_path / "out")
    parameters = text_format.Parse(batching.read_text(), messages["BatchingParameters"]())
    assert parameters.max_batch_size.value == 32 and parameters.batch_timeout_micros.value == 2000
    assert parameters.max_enqueued_batches.value == 64 and not parameters.HasField("num_batch_threads")
    metrics = text_format.Parse(monitoring.read_text(), messages["MonitoringConfig"]()).prometheus_config
    assert metrics.enable and metrics.path == "/monitoring/prometheus/metrics"


def test_a_name_that_no_address_can_hold_is_refused(tmp_path):
    (tmp_path / "my photos" / "1").mkdir(parents=True)
    with pytest.raises(ServingError, match="'my photos' is no name for a model"):
        config.located(tmp_path / "my photos")


def documents():
    found = [(file.name, document) for file in sorted(KUBERNETES.glob("*.yaml")) if file.name != "kustomization.yaml"
             for document in yaml.safe_load_all(file.read_text())]  # fmt: skip
    assert {document["kind"] for _, document in found} == {
        "Deployment", "Service", "HorizontalPodAutoscaler", "PersistentVolumeClaim", "PodDisruptionBudget"
    }  # fmt: skip
    return found


def of_kind(kind):
    return [document for _, document in documents() if document["kind"] == kind]


def pod():
    return of_kind("Deployment")[0]["spec"]["template"]["spec"]


def test_manifests_are_what_kubernetes_knows():
    """Its published schemas, strictly: a misspelt field is refused."""
    for name, document in documents():
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        wrong = {**document, "spec": {**document["spec"], "misspelt": 1}}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)
        assert document["metadata"]["name"].startswith("cnn-app-"), name


def test_manifests_fit_each_other():
    (deployment,), (scaler,), (claim,) = map(
        of_kind, ("Deployment", "HorizontalPodAutoscaler", "PersistentVolumeClaim")
    )
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert "replicas" not in deployment["spec"]  # or every apply would undo the autoscaler
    ports = {port["name"]: port["containerPort"] for port in pod()["containers"][0]["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    for service in of_kind("Service"):
        assert service["spec"]["selector"].items() <= labels.items()
        assert all(port["targetPort"] in ports for port in service["spec"]["ports"])
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (budget,) = of_kind("PodDisruptionBudget")
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert 0 < budget["spec"]["minAvailable"] < scaler["spec"]["minReplicas"]  # or no node could ever be drained
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    mounts = {mount["name"]: mount for mount in pod()["containers"][0]["volumeMounts"]}
    assert set(volumes) == set(mounts) and mounts["models"]["mountPath"] == config.ROOT
    assert mounts["models"]["readOnly"] and mounts["config"]["readOnly"]
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    (generator,) = kustomization["configMapGenerator"]
    assert volumes["config"]["configMap"]["name"] == generator["name"]
    assert {f"config/{name}.config" for name in ("models", "batching", "monitoring")} == set(generator["files"])
    assert {name for name, _ in documents()} == set(kustomization["resources"])
    kserve = yaml.safe_load((DEPLOY / "kserve.yaml").read_text())
    assert kserve["spec"]["predictor"]["model"]["storageUri"].startswith(f"pvc://{claim['metadata']['name']}/")


def test_probes_ask_for_the_model():
    container = pod()["containers"][0]
    assert container["startupProbe"]["httpGet"] == {"path": "/v1/models/photos", "port": "rest"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/v1/models/photos/metadata", "port": "rest"}
    assert container["livenessProbe"] == {"tcpSocket": {"port": "grpc"}, "periodSeconds": 20}


def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["serving"]


def test_one_pinned_image_and_flags_that_it_has():
    container = pod()["containers"][0]
    image, version = compose()["image"].split(":")
    assert image == "tensorflow/serving" and re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert container["image"] == compose()["image"]
    kserve = yaml.safe_load((DEPLOY / "kserve.yaml").read_text())["spec"]["predictor"]["model"]
    assert (kserve["runtimeVersion"], kserve["modelFormat"]) == (version, {"name": "tensorflow"})
    for words in (compose()["command"], container["args"]):
        flags = dict(word.removeprefix("--").split("=") for word in words)
        assert set(flags) <= FLAGS
        assert flags["model_config_file"] == "/config/models.config"
        assert flags["batching_parameters_file"] == "/config/batching.config"
        assert flags["monitoring_config_file"] == "/config/monitoring.config"
        assert flags["allow_version_labels_for_unavailable_models"] == "true"  # or labels at the start are fatal


def test_compose_serves_on_this_machine_only_and_reads_only():
    service = compose()
    assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    assert [volume.split("}:")[1] for volume in service["volumes"]] == ["/models:ro", "/config:ro"]


def test_kubectl_builds_the_whole(stores, tmp_path):
    """With a configuration of ours, where kubectl is at hand."""
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl")
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    config.write(stores, tmp_path / "kubernetes" / "config")
    done = subprocess.run(["kubectl", "kustomize", tmp_path / "kubernetes"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}
    assert set(built["ConfigMap"]["data"]) == {"models.config", "batching.config", "monitoring.config"}
