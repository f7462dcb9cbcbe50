from mscnn.data.vendors.plate_names import unique_names


def test_a_plate_has_its_own_name_where_no_other_folder_has_it():
    assert unique_names([("/d/a", "P1"), ("/d/b", "P2")]) == {("/d/a", "P1"): "P1", ("/d/b", "P2"): "P2"}


def test_plates_of_one_name_have_the_names_of_their_folders():
    names = unique_names([("/d/a", "9987"), ("/d/b", "9987"), ("/d/c", "other")])
    assert names == {("/d/a", "9987"): "a", ("/d/b", "9987"): "b", ("/d/c", "other"): "other"}


def test_names_that_differ_in_case_are_one_name():
    assert set(unique_names([("/d/a", "X1"), ("/d/b", "x1")]).values()) == {"a", "b"}


def test_plates_whose_folders_have_one_name_too_are_told_apart_by_both():
    names = unique_names([("/d/1/run", "P"), ("/d/2/run", "P"), ("/d/3/x", "Q")])
    assert names == {("/d/1/run", "P"): "1/run P", ("/d/2/run", "P"): "2/run P", ("/d/3/x", "Q"): "Q"}


def test_a_plate_without_a_name_has_that_of_its_folder():
    assert unique_names([("/d/a", "")]) == {("/d/a", ""): "a"}


def test_several_names_in_each_of_several_folders_stay_apart():
    names = unique_names([(folder, name) for folder in ("/d/a", "/d/b") for name in ("P", "Q")])
    assert len(set(names.values())) == 4
