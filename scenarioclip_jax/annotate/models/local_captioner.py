"""Vision-language models of Hugging Face, in this process."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from scenarioclip_jax.annotate.models.batches import Batches, Item
from scenarioclip_jax.annotate.models.language import LanguageModel, Question, Reply
from scenarioclip_jax.annotate.models.load import device, load, load_network, require
from scenarioclip_jax.annotate.models.photos import shrink
from scenarioclip_jax.annotate.models.protocols import ModelError
from scenarioclip_jax.annotate.results import Cost, Failure
from scenarioclip_jax.annotate.settings import CaptionSettings


class LocalCaptioner(LanguageModel):
    """Answers by greedy decoding: bfloat16 on accelerators, float32 on a CPU.

    Args:
      settings: Which model, and what it is asked.

    Raises:
      ModelError: The model can't be loaded, or has no chat template.
    """

    def __init__(self, settings: CaptionSettings):
        super().__init__(settings)
        torch = require("torch", settings.model)
        self._device = device()
        dtype = torch.float32 if self._device.type == "cpu" else torch.bfloat16
        self._processor = load("AutoProcessor", settings.model, settings.revision)
        if not getattr(self._processor, "chat_template", None):
            raise ModelError(
                f"{settings.model}: has no chat template, so it can't be asked; choose a model that was tuned "
                "to follow instructions, such as one whose name ends in -Instruct"
            )
        self._model = load_network(
            "AutoModelForImageTextToText", settings.model, settings.revision, dtype
        )
        self._dtype = dtype
        self._tokenizer = self._processor.tokenizer
        # Answers are appended: what fills shorter prompts up has to stand before them.
        self._tokenizer.padding_side = "left"
        self._ends = _ends(self._model.generation_config.eos_token_id, self._tokenizer.eos_token_id)
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token

    def ask(self, questions: Iterable[Question]) -> Iterator[Reply]:
        """Asks questions, several at a time; replies come in their order."""
        batches = Batches(self._settings.model, self._settings.batch, self._run)
        for _, question, result in batches((each.photo, each) for each in questions):
            if isinstance(result, Failure):
                yield Reply(question, result)
            else:
                yield Reply(question, *result)

    def _run(self, batch: Sequence[Item[Question]]) -> list[tuple[Any, Cost]]:
        import torch

        inputs = self._inputs(batch)
        with torch.inference_mode():
            tokens = self._model.generate(
                **inputs,
                do_sample=False,
                # Models come with settings for sampling, which greedy decoding would warn about.
                **dict.fromkeys(("temperature", "top_p", "top_k")),
                max_new_tokens=self._settings.max_tokens,
                pad_token_id=self._tokenizer.pad_token_id,
            )
        read = inputs["attention_mask"].sum(dim=1).tolist()
        answers = tokens[:, inputs["input_ids"].shape[1] :].tolist()
        asked = [item.extra for item in batch]
        return [self._answer(*each) for each in zip(asked, answers, read, strict=True)]

    def _inputs(self, batch: Sequence[Item[Question]]) -> Any:
        """The tokens and pixels of a batch: the prompt after each photo."""
        conversations = [
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": shrink(item.image, self._settings.max_side)},
                        {"type": "text", "text": item.extra.prompt},
                    ],
                }
            ]
            for item in batch
        ]
        texts = self._processor.apply_chat_template(conversations, add_generation_prompt=True)
        begin = self._tokenizer.bos_token
        inputs = self._processor(
            text=texts,
            images=[[turn["content"][0]["image"]] for (turn,) in conversations],
            padding=True,
            return_tensors="pt",
            # Some templates write the mark of the beginning, which mustn't be there twice.
            add_special_tokens=not (begin and texts[0].startswith(begin)),
        )
        return inputs.to(self._device, dtype=self._dtype)

    def _answer(self, question: Question, tokens: Sequence[int], read: int) -> tuple[Any, Cost]:
        end = next((place for place, token in enumerate(tokens) if token in self._ends), None)
        text = self._tokenizer.decode(tokens[:end], skip_special_tokens=True)
        result = question.read(text, end is None)
        return result, Cost(read, len(tokens) if end is None else end + 1)


def _ends(*tokens: int | Sequence[int] | None) -> set[int]:
    """Tokens that end an answer: models name one, several or none."""
    ends: set[int] = set()
    for each in tokens:
        ends.update([each] if isinstance(each, int) else each or [])
    return ends
