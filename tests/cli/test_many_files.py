"""`recurlm train` with several files: any order gives the same run, which is resumed and measured from its list."""

import gzip
import json
import re

import pytest

QUICK = ("--recipe", "default", "--epochs", "1", "--set", "model.hidden_sizes=[8]", "--set", "model.embedding_size=8")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "texts"
    path.mkdir()
    for number in range(25):
        (path / f"f{number:02}.txt").write_text(f"the {number:02} dogs see a cat\n" * 8)
    return path


def config(run):
    return json.loads((run / "config.json").read_text())


def test_the_order_of_the_command_does_not_matter(recurlm, folder, tmp_path):
    names = [str(path) for path in sorted(folder.iterdir())]
    weights = []
    for out, texts in (("a", names), ("b", names[::-1]), ("c", [str(folder)])):
        assert recurlm("train", *texts, *QUICK, "--out", str(tmp_path / out)).returncode == 0
        weights.append((tmp_path / out / "model.safetensors").read_bytes())
        assert [each["path"] for each in config(tmp_path / out)["corpus"]["files"]] == names
    assert weights[0] == weights[1] == weights[2]


def test_the_run_says_what_it_read_and_is_measured_again(recurlm, folder, tmp_path):
    run = tmp_path / "run"
    done = recurlm("train", f"{folder}/*.txt", *QUICK, "--out", str(run))
    assert "25 files, 4,400 bytes: cut in three between documents" in done.stderr
    (folder / "more.txt").write_text("another text\n")
    assert json.loads(recurlm("eval", str(run), "--json").stdout)["tokens"] == 8 * 7
    assert "25 files" in recurlm("show", str(run)).stdout
    (folder / "f24.txt").write_text("the 99 dogs see a cat\n" * 8)
    changed = recurlm("eval", str(run))
    assert changed.returncode == 4
    assert "f24.txt is no longer the text" in changed.stderr


def test_a_file_with_the_text_of_another_one_is_named(recurlm, folder, tmp_path):
    single = "".join(f"the {number} dogs\n" for number in range(8))
    for number, path in enumerate(sorted(folder.glob("*.txt"))):
        path.write_text(f"a cat {number}\n" + single)
    assert "the same text twice" not in recurlm("train", str(folder), *QUICK, "--out", str(tmp_path / "a")).stderr
    (folder / "g.txt.gz").write_bytes(gzip.compress((folder / "f00.txt").read_bytes()))
    said = recurlm("train", str(folder), *QUICK, "--out", str(tmp_path / "b")).stderr
    assert re.search(r"the same text twice: .*g\.txt\.gz is .*f00\.txt again; the test part may hold", said)


def test_a_learned_file_is_recognized_when_it_is_measured(recurlm, folder, tmp_path):
    run = tmp_path / "run"
    assert recurlm("train", str(folder), *QUICK, "--out", str(run)).returncode == 0
    assert f"the model learned from {folder / 'f00.txt'}" in recurlm("eval", str(run), str(folder / "f00.txt")).stderr
    assert "learned" not in recurlm("eval", str(run), str(folder / "f24.txt")).stderr


def test_a_run_on_several_files_is_resumed_without_naming_them(recurlm, folder, tmp_path):
    run = tmp_path / "run"
    constant = ("--set", "schedule.kind=constant")
    assert recurlm("train", str(folder), *QUICK, *constant, "--out", str(run)).returncode == 0
    resumed = recurlm("train", "--resume", "--epochs", "2", "--out", str(run))
    assert resumed.returncode == 0, resumed.stderr
    again = recurlm("train", str(folder), "--field", "text", "--resume", "--epochs", "3", "--out", str(run))
    assert again.returncode == 3
    assert "was begun without --field; leave it out" in again.stderr


def test_records_are_trained_on_by_the_name_of_their_text(recurlm, tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps({"id": n, "text": "the dogs see\na cat"}) + "\n" for n in range(60)))
    run = tmp_path / "run"
    done = recurlm("train", str(path), "--field", "text", *QUICK, "--out", str(run))
    assert done.returncode == 0, done.stderr
    assert "60 documents: cut in three between documents" in done.stderr
    assert config(run)["corpus"]["field"] == "text"
    refused = recurlm("train", str(path), *QUICK, "--out", str(tmp_path / "other"))
    assert refused.returncode == 2
    assert "--field text" in refused.stderr
    assert not (tmp_path / "other").exists()


def test_python_takes_a_list(folder, tmp_path):
    import recurlm

    run = recurlm.train(
        sorted(folder.iterdir()),
        out=tmp_path / "run",
        epochs=1,
        quiet=True,
        model={"hidden_sizes": [8], "embedding_size": 8},
    )
    assert len(config(run.path)["corpus"]["files"]) == 25


def test_python_takes_what_a_folder_yields_and_refuses_an_empty_list(folder, tmp_path):
    import recurlm
    from recurlm.errors import UsageError

    small = {"hidden_sizes": [8], "embedding_size": 8}
    run = recurlm.train(folder.glob("f*.txt"), out=tmp_path / "run", epochs=1, quiet=True, model=small)
    assert len(config(run.path)["corpus"]["files"]) == 25
    with pytest.raises(UsageError, match="no text is given"):
        recurlm.train([], out=tmp_path / "other")


def test_a_list_longer_than_a_path_may_be_is_recorded_by_its_first_name(recurlm, tmp_path):
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    for number in range(60):
        (folder / f"f{number:02}.txt").write_text("the dogs see a cat\n" * 2)
    names = sorted(map(str, folder.iterdir()))
    assert len(" ".join(names)) > 4096  # the longest path of a system
    run = tmp_path / "run"
    trained = recurlm("train", *names, *QUICK, "--out", str(run))
    assert trained.returncode == 0, trained.stderr
    assert config(run)["corpus"]["source"].startswith(f"{names[0]} and 59 more, sha256:")
    assert [each["path"] for each in config(run)["corpus"]["files"]] == names
    assert recurlm("train", *reversed(names), "--resume", "--out", str(run)).returncode == 0
    other = recurlm("train", *names[:-1], "--resume", "--out", str(run))
    assert other.returncode == 3
    assert "and 58 more" in other.stderr


def test_a_run_begins_with_another_on_its_files(recurlm, folder, tmp_path):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert recurlm("train", str(folder), *QUICK, "--out", str(first)).returncode == 0
    assert recurlm("train", "--from", str(first), "--epochs", "1", "--out", str(second)).returncode == 0
    assert config(second)["corpus"]["files"] == config(first)["corpus"]["files"]
    names = [str(folder / f"f{number:02}.txt") for number in (4, 3, 2, 1, 0)]
    more = recurlm("train", *names, "--from", str(first), "--epochs", "1", "--out", str(third))
    assert more.returncode == 0, more.stderr
    assert [each["path"] for each in config(third)["corpus"]["files"]] == names[::-1]


def test_the_command_that_follows_a_search_names_the_texts_again(recurlm, folder, tmp_path):
    names = [str(path) for path in sorted(folder.iterdir())[:3]]
    vary = ("--vary", "optimizer.learning_rate=0.1|0.2", "--trials", "1")
    found = recurlm("search", *names, *QUICK, *vary, "--out", str(tmp_path / "found"))
    assert found.returncode == 0, found.stderr
    assert f"recurlm train {' '.join(names)} --recipe" in found.stdout + found.stderr
    posts = tmp_path / "posts.jsonl"
    posts.write_text('{"text": "the dogs see a cat"}\n' * 60)
    found = recurlm("search", str(posts), "--field", "text", *QUICK, *vary, "--out", str(tmp_path / "other"))
    assert "recurlm train --field text --recipe" in found.stdout + found.stderr
