"""DVC hashes no key called `size`: who reads a result of another size is told so, and computes nothing from it."""

from tasks.stage.harness import EXIT_DAMAGED


def test_a_result_of_another_size_is_not_read(project):
    for run in ("scenes/train", "data/cc558k", "foundation/clip", "foundation/vicuna-7b"):
        project.stage(run)
    params = project.params()
    params["scenes"]["tiny"]["each"]["train"]["size"] = 2
    project.set_params(params)
    project.forget()
    for run in ("data/mix665k", "align/clip_vicuna-7b_cc558k"):  # of the scenes themselves, and of what they became
        said = project.stage(run, code=EXIT_DAMAGED)
        assert "runs/tiny/scenes/train: was computed with size 1, params.yaml asks for 2" in said
        assert "`spatialllm retry`" in said
    assert project.executed == []
    project.stage("scenes/train")
    project.stage("data/mix665k")
    assert project.executed == ["scenes/train", "data/mix665k"]
