"""Pictures of the report: stills, sheets and the moving sheet show the frames of the videos."""

import numpy as np
import torch
from PIL import Image

from core.sphere import erp_to_view
from core.video import read_video
from evaluation.pictures import Shots, read_shots, save_moving, seam_crop
from tests.evaluation.reproduction import LABELS


def test_seam_is_in_the_middle_of_its_close_up(outputs):
    frame = np.zeros((32, 64, 3), np.uint8)
    frame[..., 0] = np.arange(64)
    frame[..., 1] = np.arange(32)[:, None]
    crop = seam_crop(frame)
    assert crop.shape == (16, 16, 3)
    assert crop[0, :, 0].tolist() == [*range(56, 64), *range(8)]
    assert crop[:, 0, 1].tolist() == list(range(8, 24))
    assert seam_crop(np.zeros((512, 1024, 3), np.uint8)).shape == (64, 64, 3)
    file = outputs / "videos" / "round" / "p1-0.mp4"
    frames = read_video(file).frames
    np.testing.assert_array_equal(read_shots(file).frames, frames[[0, 2, 3]])
    np.testing.assert_array_equal(read_shots(file).seam, seam_crop(frames[2]))
    above = erp_to_view(
        torch.from_numpy(frames[2]).permute(2, 0, 1)[None].float(), 32, 32, 2 * np.pi / 3, pitch=np.pi / 2
    )
    np.testing.assert_allclose(read_shots(file).poles[0], above[0].permute(1, 2, 0).numpy(), atol=0.51)


def test_sheets_hold_every_method_and_prompt(outputs):
    folder = outputs / "report"
    with Image.open(folder / "contact_sheet.png") as sheet, Image.open(folder / "seams.png") as seams:
        assert sheet.width >= 3 * 288
        assert sheet.height >= 4 * (144 + 72)
        assert seams.height >= 4 * 256
        # The middle frame of the second method's first prompt, enlarged, is where it should be.
        cell = np.asarray(sheet.crop((12 + 300, 34 + 26, 12 + 300 + 288, 34 + 26 + 144))).astype(float)
    middle = read_video(outputs / "videos" / "round" / "p0-0.mp4").frames[2]
    small = np.asarray(Image.fromarray(cell.astype(np.uint8)).resize((64, 32), Image.Resampling.BOX)).astype(float)
    assert np.abs(small - middle).mean() < 6
    assert sorted(file.stem for file in (folder / "sheets").iterdir()) == sorted(LABELS)
    with Image.open(folder / "metrics.png") as plots:
        assert plots.width > 1000


def test_the_moving_sheet_plays_every_video_at_its_speed(outputs):
    video = read_video(outputs / "videos" / "round" / "p0-0.mp4")
    with Image.open(outputs / "report" / "moving.webp") as sheet:
        assert (sheet.n_frames, sheet.info["loop"]) == (len(video.frames), 0)
        for index, frame in enumerate(video.frames):
            sheet.seek(index)
            sheet.load()
            assert sheet.info["duration"] == round(1000 / video.fps)
            cell = sheet.convert("RGB").crop((12 + 204, 34 + 26, 12 + 204 + 192, 34 + 26 + 96))
            small = np.asarray(cell.resize((64, 32), Image.Resampling.BOX)).astype(float)
            assert np.argmin([np.abs(small - other).mean() for other in video.frames]) == index
            assert np.abs(small - frame).mean() < 12


def test_a_moving_sheet_holds_as_many_prompts_as_webp_can(tmp_path):
    still = np.zeros((1, 96, 192, 3), np.uint8)
    shot = Shots(still, still[0], still, still, 0.125)
    prompts = [(f"p{i}", f"prompt {i}") for i in range(130)]
    save_moving(tmp_path / "moving.webp", {("m", prompt): shot for prompt, _ in prompts}, [("m", "M")], prompts)
    with Image.open(tmp_path / "moving.webp") as sheet:
        assert 16383 - (26 + 96 + 12) < sheet.height <= 16383
