"""A trained design answers about a picture, and leaves for other programs."""

import numpy as np
import pytest
import torch
from PIL import Image

from data_registry.errors import InputError
from tasks.training import machine
from tasks.use.ask import answer, ask, split_options
from tests.tasks.training_project import DESIGN, NEXT_TOKEN, run_chain


def test_export_as_llava_and_with_its_processor(root, tmp_path):
    from transformers import AutoModelForCausalLM, AutoProcessor, LlavaForConditionalGeneration

    from tasks.use.export import export

    run_chain(root, NEXT_TOKEN)  # one encoder, adapted in stage 0
    trained = root / "runs" / "tiny" / "instruct" / NEXT_TOKEN
    export(trained, tmp_path / "own", "spatialllm")
    export(trained, tmp_path / "llava", "llava")
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (40, 90, 3), dtype=np.uint8))
    own, processor = (
        AutoModelForCausalLM.from_pretrained(tmp_path / "own"),
        AutoProcessor.from_pretrained(tmp_path / "own"),
    )
    llava, other = (
        LlavaForConditionalGeneration.from_pretrained(tmp_path / "llava"),
        AutoProcessor.from_pretrained(tmp_path / "llava"),
    )
    content = [{"type": "image"}, {"type": "text", "text": "what is there ?"}]
    text = other.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    ours = processor(images=image, text="what is there ?")
    theirs = other(images=[image], text=[text], add_special_tokens=False, return_tensors="pt")
    assert torch.equal(ours["input_ids"], theirs["input_ids"])
    with torch.no_grad():
        expected, found = own.eval()(**ours).logits[0, -1], llava.eval()(**theirs).logits[0, -1]
    torch.testing.assert_close(found[: len(expected)], expected, rtol=0.02, atol=0.02)
    with pytest.raises(InputError, match="is no empty folder"):
        export(trained, tmp_path / "own", "llava")
    with pytest.raises(InputError, match=r"did you mean llava\?"):
        export(trained, tmp_path / "new", "llavas")


def test_ask_with_options_and_in_words(root, tmp_path):
    run_chain(root, DESIGN)
    image, sideways, noted = tmp_path / "wide.png", tmp_path / "sideways.png", Image.Exif()
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 90, 3), dtype=np.uint8))
    picture.save(image)
    noted[0x0112] = 6  # to be turned clockwise
    picture.transpose(Image.Transpose.ROTATE_90).save(sideways, exif=noted)
    folder = root / "runs" / "tiny" / "instruct" / DESIGN
    found = ask(folder, image, "which is closer ? A. the car B. the chair")
    assert found.options == ("the car", "the chair") and found.text in found.options
    assert sum(found.probabilities) == pytest.approx(1)
    assert found.text == found.options[int(np.argmax(found.probabilities))]
    assert ask(folder, sideways, "which is closer ? A. the car B. the chair") == found, "as its camera held it"
    assert ask(folder, image, "what is there ?").options == ()
    assert "A. the car:" in answer(root, DESIGN, image, "which ? A. the car B. the chair")
    with pytest.raises(InputError, match="no such file"):
        ask(folder, tmp_path / "none.png", "what ?")
    broken = tmp_path / "broken.png"
    broken.write_bytes(image.read_bytes()[:100])
    with pytest.raises(InputError, match=r"broken\.png: does not decode"):
        ask(folder, broken, "what ?")
    with pytest.raises(InputError, match="no trained model here"):
        ask(tmp_path, image, "what ?")


def test_the_runtime_section_says_where_it_is_asked(root, tmp_path, monkeypatch):
    run_chain(root, DESIGN)
    image = tmp_path / "grey.png"
    Image.new("L", (40, 40), 128).save(image)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # a GPU is there, and params.yaml says `device: cpu`
    assert answer(root, DESIGN, image, "which ? A. the car B. the chair")
    monkeypatch.setenv("LOCAL_RANK", "3")
    found = {device: machine.device_of({"device": device}) for device in ("auto", "cuda", "cpu")}
    assert found == {"auto": "cuda:3", "cuda": "cuda:3", "cpu": "cpu"} and machine.device_of({}) == "cuda:3"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.device_of({"device": "auto"}) == "cpu"
    with pytest.raises(InputError, match="device is cuda, but torch finds no GPU here"):
        machine.device_of({"device": "cuda"})


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which is closer? A. the car B. the dog", ("Which is closer?", ("the car", "the dog"))),
        ("Which?\nA) x\nB) y\nC) z", ("Which?", ("x", "y", "z"))),
        ("Is there a TV? B. no", ("Is there a TV? B. no", ())),
        ("Where is it?", ("Where is it?", ())),
    ],
)
def test_options_in_a_question(question, expected):
    assert split_options(question) == expected
