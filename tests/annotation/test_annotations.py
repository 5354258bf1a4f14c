from nbcad.imaging.boxes import link


def test_boxes_link_only_where_they_overlap_on_neighbouring_slices():
    a, b = (0, 0, 10, 10), (50, 50, 60, 60)
    groups = link([[a, b], [(2, 2, 12, 12)], [], [(2, 2, 12, 12)]])
    assert sorted(sorted(g) for g in groups) == [[(0, 0), (1, 0)], [(0, 1)], [(3, 0)]]


def test_boxes_that_barely_touch_are_two_lesions():
    assert len(link([[(0, 0, 10, 10)], [(8, 8, 20, 20)]])) == 2


def test_two_boxes_within_one_on_the_next_slice_are_one_lesion():
    assert [sorted(g) for g in link([[(0, 0, 4, 4), (6, 6, 9, 9)], [(0, 0, 9, 9)]])] == [[(0, 0), (0, 1), (1, 0)]]


def test_no_boxes_are_no_lesions():
    assert link([[], []]) == []
