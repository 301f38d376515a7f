from train.stopping import Looks, look


def looked(figures, patience=2, limit=0.05):
    looks = Looks()
    for number, (caught, benign) in enumerate(figures, 1):
        looks = look(looks, 10 * number, {"caught": caught, "p_reset_benign": benign}, patience, limit)
        if looks.ended:
            break
    return looks


def test_it_ends_after_so_many_looks_that_caught_no_more_and_remembers_the_best():
    looks = looked([(0.3, 0.01), (0.6, 0.01), (0.6, 0.01), (0.5, 0.01), (0.9, 0.01)])
    assert (looks.best, looks.best_step, looks.since) == (0.6, 20, 2)
    assert looks.ended == "no more drafts caught than at step 20 for 2 looks"


def test_a_better_look_begins_the_count_again():
    looks = looked([(0.3, 0.01), (0.2, 0.01), (0.4, 0.01), (0.4, 0.01)])
    assert not looks.ended
    assert looks.since == 1


def test_too_many_resets_in_benign_replies_end_it_at_once_and_are_never_the_best():
    looks = looked([(0.3, 0.01), (0.9, 0.06), (0.95, 0.01)])
    assert looks.best_step == 10
    assert "0.06, above 0.05" in looks.ended
    assert looked([(0.3, float("nan"))]).ended
