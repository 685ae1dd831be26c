import pytest

from contract.folders import class_names, without_number


def test_a_number_is_no_part_of_a_name_where_all_folders_have_one() -> None:
    assert class_names(["002.Afghan_hound", "010.Akita"]) == ["Afghan hound", "Akita"]
    assert [without_number(folder) for folder in ("002.Afghan_hound", "roses")] == ["Afghan hound", ""]


@pytest.mark.parametrize(
    "folders",
    [
        ["1.a", "b"],
        ["1.a", "2.a"],
        ["2020", "2021"],
        ["v1.0_x", "v1.1_x"],
        ["0.5", "2.0"],
        ["0.5 mm", "2.0 mm"],
    ],
)
def test_other_names_stay(folders: list[str]) -> None:
    assert class_names(folders) == folders
