import pytest

from mscnn.data.vendors.tree_places import tree_place


@pytest.mark.parametrize(("folder", "plate", "time", "z"), [
    ("/d/plate/TimePoint_3/ZStep_12", "/d/plate", 3, 12), ("/d/plate/Timepoint_1", "/d/plate", 1, None),
    ("/d/plate/ZStep_0", "/d/plate", None, 0), ("/d/plate", "/d/plate", None, None), ("", "", None, None),
    ("TimePoint_2", "", 2, None), ("/d/ZStep_1/TimePoint_2", "/d/ZStep_1", 2, None),
    ("/d/MyZStep_1", "/d/MyZStep_1", None, None),
    ("/d/TimePoint_1/other", "/d/TimePoint_1/other", None, None),
])
def test_the_path_of_a_folder_tells_plate_time_and_focal_plane(folder, plate, time, z):
    assert tree_place(folder) == (plate, time, z)
