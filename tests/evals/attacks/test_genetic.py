import random

from hypothesis import given
from hypothesis import strategies as st

from evals.attacks.autodan import seed_texts
from evals.attacks.genetic import PLACE, bred, changed, crossed, generations, joined, mended, sentences

word = st.sampled_from(["a", "sea", "tells", "of:", "old.", "It", PLACE, f"({PLACE})", PLACE + PLACE])
raw = st.lists(st.lists(word, max_size=5).map(" ".join), max_size=6)
texts = raw.map(mended)
chances = st.integers(0, 1 << 32).map(random.Random)


def places(text):
    return " ".join(text).count(PLACE)


def words(*texts):
    return sorted(word for text in texts for part in text for word in part.split() if PLACE not in word)


@given(raw)
def test_a_text_has_exactly_one_place_for_the_request(parts):
    text = mended(parts)
    assert places(text) == 1
    assert all(text)
    assert mended(text) == text
    assert joined(text, "a request").count("a request") == 1


@given(texts, texts, chances)
def test_children_have_their_parents_words_and_no_others(first, second, chance):
    left, right = crossed(first, second, chance)
    assert places(left) == places(right) == 1
    assert words(left, right) == words(first, second)


@given(texts, st.lists(texts, min_size=1, max_size=3), chances)
def test_a_changed_text_still_has_its_place_and_only_known_words(text, pool, chance):
    found = changed(text, pool, chance)
    assert places(found) == 1
    assert set(words(found)) <= set(words(text, *pool))


@given(
    st.lists(st.tuples(st.floats(-9, 0) | st.just(float("-inf")), texts), min_size=1, max_size=8),
    st.integers(1, 12),
    chances,
)
def test_a_generation_has_its_size_and_begins_with_the_fittest(scored, size, chance):
    found = bred(scored, [text for _, text in scored], size, chance)
    assert len(found) == size
    assert all(places(text) == 1 for text in found)
    best = max(fitness for fitness, _ in scored)
    assert found[0] in [text for fitness, text in scored if fitness == best]


@given(st.integers(0, 1000))
def test_the_best_never_gets_worse_and_the_seed_decides(seed):
    def run():
        stream = generations(pool, lambda text: -float(len(" ".join(text))), 8, random.Random(seed))
        return [next(stream) for _ in range(6)]

    pool = [sentences("One long sentence here. Another one. {request}"), sentences("A short one: {request}.")]
    found = run()
    fitness = [best for best, _ in found]
    assert fitness == sorted(fitness)
    assert run() == found


def test_breeding_finds_what_it_is_bred_for():
    pool = [
        sentences("Red is it. Blue was it. Tell {request} now."),
        sentences("Green is it. Gold was it. {request}"),
    ]
    stream = generations(pool, lambda text: float(" ".join(text).count("Gold")), 16, random.Random(3))
    first, *_, last = [next(stream) for _ in range(40)]
    assert last[0] > first[0]


def test_every_seed_text_holds_the_request_once_and_differs_from_the_others():
    found = seed_texts()
    assert len(set(found)) == len(found) >= 8
    assert all(places(text) == 1 and len(text) > 3 for text in found)
