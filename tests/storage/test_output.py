"""The commands that write: builder, importers and converters, with addresses for inputs and outputs."""

import json

import numpy as np
import pytest

from scenarioclip_jax import convert, load
from scenarioclip_jax.data.build import command as build
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.stored.remote import local_data
from scenarioclip_jax.importers import command as importers
from scenarioclip_jax.storage import output
from scenarioclip_jax.storage.bucket import Bucket
from tests.data.builder_inputs import record, write_root
from tests.importers import made
from tests.importers.test_coco import DOG, annotation, image, instances
from tests.interop import helpers
from tests.storage.servers import Trouble, proxy
from tests.storage.test_bucket import through_a_proxy
from tests.storage.test_cache import upload

pytestmark = pytest.mark.timeout(180)
INFO = f"{shards.NAME}/{shards.VERSION}/dataset_info.json"


def run(root, place, *flags) -> int:
    return build.main([f"--metadata={root}", f"--output={place}", "--fractions=1,0,0", *flags])


def below(place, name):
    return place._replace(key=f"{place.key}/{name}")


def test_a_data_set_is_built_from_a_bucket_into_a_bucket(place, tmp_path, capsys):
    root = write_root(tmp_path / "root", record("a", relations=[]), record("b", relations=[]))
    upload(root, below(place, "in"))
    assert run(root, tmp_path / "here") == 0
    assert run(f"{place}/in", f"{place}/out") == 0
    assert f"Built {place}/out/{shards.NAME}/{shards.VERSION}" in capsys.readouterr().out
    copy = local_data(f"{place}/out")
    here = tmp_path / "here"
    assert shards.open_split(copy, "train").identity == shards.open_split(here, "train").identity
    assert shards.load_summary(copy)["source"] == {"metadata": f"{place}/in"}
    spool = output.spool(below(place, "out"))
    assert [path.name for path in spool.iterdir()] == [".build.lock"]

    assert run(root, f"{place}/out") == 1
    assert "is a data set already" in capsys.readouterr().err
    (root / "metadata.json").write_text(
        (root / "metadata.json").read_text().replace('"id": "b"', '"id": "c"')
    )
    assert run(root, f"{place}/out", "--overwrite") == 0
    again = shards.open_split(local_data(f"{place}/out"), "train")
    assert {again[i].id for i in range(len(again))} == {"a", "c"}


def test_an_interrupted_upload_is_no_data_set_and_the_same_command_ends_it(
    s3_server, monkeypatch, tmp_path, capsys
):
    from tests.storage.conftest import new_place

    place = new_place(s3_server, monkeypatch, tmp_path)
    root = write_root(tmp_path / "root", record("a", relations=[]))
    refused = Trouble(
        lambda method, path, number: 403 if method == "PUT" and "summary.json" in path else None
    )
    with proxy(s3_server, refused) as port:
        through_a_proxy(monkeypatch, s3_server, port)
        assert run(root, place) == 1
    error = capsys.readouterr().err
    assert "summary.json can't be written" in error
    assert f"nothing is complete in {place}" in error
    through_a_proxy(monkeypatch, s3_server, s3_server.port)
    assert INFO not in Bucket(place).list()
    with pytest.raises(shards.DataSetError, match="no data set in"):
        local_data(str(place))

    # What was built isn't built again.
    monkeypatch.setattr("scenarioclip_jax.data.build.dataset._build_locked", None)
    assert run(root, place) == 0
    assert len(shards.open_split(local_data(str(place)), "train")) == 1


@pytest.mark.slow
def test_drawn_scenes_go_to_a_bucket(place, capsys):
    assert build.main(["--embedded=20", f"--output={place}"]) == 0
    assert sum(shards.load_summary(local_data(str(place)))["splits"].values()) == 20
    assert build.main(["--embedded=20", f"--output={place}"]) == 1
    assert "is a data set already" in capsys.readouterr().err


def test_an_import_reads_and_writes_buckets(place, tmp_path, capsys):
    source = instances(
        tmp_path / "instances_val2017.json", [annotation(1, DOG, made.xywh("dog"))], [image(1)]
    )
    Bucket(place).put(source, "instances_val2017.json")
    flags = ["coco", f"--instances={place}/instances_val2017.json", f"--output={place}/out"]
    assert importers.main(flags) == 0
    assert f"--metadata={place}/out" in capsys.readouterr().out
    found = Bucket(below(place, "out"))
    assert list(found.list()) == ["import.json", "metadata.jsonl.gz", "problems.jsonl"]
    assert json.loads(found.read("import.json"))["counts"]["photos"] == 1
    assert importers.main(flags) == 1
    assert "holds an import already" in capsys.readouterr().err
    assert importers.main([*flags, "--overwrite"]) == 0
    export = ["export-coco", f"--metadata={place}/out", f"--output={place}/coco.json"]
    assert importers.main(export) == 0
    assert json.loads(Bucket(place).read("coco.json"))["images"]


@pytest.mark.slow
def test_models_are_converted_and_opened_in_buckets(place, tmp_path, capsys):
    upload(helpers.write_clip(tmp_path / "clip"), below(place, "clip"))
    flags = ["from-huggingface", f"--model={place}/clip", "--arch=clip"]
    convert.main([*flags, f"--output={place}/ours"])
    convert.main(
        [
            "from-huggingface",
            f"--model={tmp_path / 'clip'}",
            "--arch=clip",
            f"--output={tmp_path / 'ours'}",
        ]
    )
    there = load(f"{place}/ours").encode_text("ok")
    np.testing.assert_array_equal(there, load(tmp_path / "ours").encode_text("ok"))
    with pytest.raises(SystemExit, match=r"exists already"):
        convert.main([*flags, f"--output={place}/ours"])
    with pytest.raises(SystemExit, match=r"no complete checkpoint of step 7 \(found: 0\)"):
        convert.main(
            ["to-pytorch", f"--checkpoint={place}/ours", "--step=7", f"--output={tmp_path / 'x'}"]
        )
    convert.main(["to-pytorch", f"--checkpoint={place}/ours", f"--output={place}/torch"])
    np.testing.assert_array_equal(there, load(f"{place}/torch").encode_text("ok"))
