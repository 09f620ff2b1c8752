from passerby.data.datasets import DATASETS


def test_official_layout(tree) -> None:
    folder = "ilids/i-LIDS_Pedestrian/Persons"
    root = tree(f"{folder}/0001001.jpg", f"{folder}/0001002.jpg", f"{folder}/0119004.jpg", f"{folder}/119004.jpg")
    listing = DATASETS["ilids"].scan(root)
    assert [(s.identity, s.camera) for s in listing.parts["all"]] == [(1, None), (1, None), (119, None)]
    assert listing.misfits == ("119004.jpg",)
