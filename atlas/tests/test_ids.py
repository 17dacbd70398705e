from __future__ import annotations

import pytest

from atlas.ids import uploads_playlist, validate_channel_id, validate_youtube_id

CHANNEL = "UC_x5XG1OV2P6uZZ5FSM9Ttw"


@pytest.mark.parametrize("video_id", ["dQw4w9WgXcQ", "-_-_-_-_-_-", "00000000000"])
def test_a_video_id_has_eleven_letters_digits_dashes_or_underscores(video_id: str) -> None:
    assert validate_youtube_id(video_id)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("dQw4w9WgXc", id="too short"),
        pytest.param("dQw4w9WgXcQQ", id="too long"),
        pytest.param("dQw4w9WgXcQ\n", id="a line break at the end"),
        pytest.param("dQw4w9 gXcQ", id="a space"),
        pytest.param("dQw4w9WgXcé", id="a letter beyond ASCII"),
        pytest.param("٠٠٠٠٠٠٠٠٠٠٠", id="digits beyond ASCII"),
        pytest.param(None, id="nothing"),
        pytest.param(b"dQw4w9WgXcQ", id="bytes"),
    ],
)
def test_anything_else_is_no_video_id(value: object) -> None:
    assert not validate_youtube_id(value)


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        pytest.param(CHANNEL, True, id="a channel"),
        pytest.param("UU" + CHANNEL[2:], False, id="its uploads playlist"),
        pytest.param(CHANNEL[:-1], False, id="too short"),
        pytest.param(CHANNEL + "x", False, id="too long"),
        pytest.param(CHANNEL.lower(), False, id="lower case"),
        pytest.param("@GoogleDevelopers", False, id="a handle"),
        pytest.param(None, False, id="nothing"),
    ],
)
def test_a_channel_id_begins_with_uc_and_has_24_characters(value: object, valid: bool) -> None:
    assert validate_channel_id(value) is valid


def test_the_uploads_playlist_is_named_after_the_channel() -> None:
    assert uploads_playlist(CHANNEL) == "UU_x5XG1OV2P6uZZ5FSM9Ttw"


def test_what_is_no_channel_has_no_uploads_playlist() -> None:
    with pytest.raises(ValueError, match="not a channel id: 'dQw4w9WgXcQ'"):
        uploads_playlist("dQw4w9WgXcQ")
