"""What the page holds, without a browser: tests/browser looks at it with one."""

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import Tap
from scenes import Scene

from campaign.adapters.web.dashboard import CampaignPage
from campaign.core.model import Axis, State
from campaign.ports import NodeLook, Trouble


def drawn(scene):
    doc = Document()
    CampaignPage(scene, lambda: scene.now_s)(doc)
    (tick,) = doc.session_callbacks
    return doc, doc.get_model_by_name, tick.callback


def redraw(scene, tick):
    scene.now_s += 1.0
    tick()


def tiles(find):
    return find("tiles").data["state"][0][::-1]  # the first row is at the top


def test_states_are_drawn_and_redrawn():
    scene = Scene()
    _, find, tick = drawn(scene)
    assert tiles(find).shape == (20, 1000)  # redshift down, two realizations in a tile
    assert (tiles(find) == State.PENDING).all()
    scene.states[5 * 20 + 3] = State.FAILED
    redraw(scene, tick)
    assert np.argwhere(tiles(find) == State.FAILED).tolist() == [[3, 2]]


def test_what_is_looked_at_closely_is_drawn_job_by_job():
    scene = Scene()
    scene.states[101 * 20 + 3] = State.TIMEOUT
    _, find, tick = drawn(scene)
    find("map").x_range.update(start=100.0, end=110.0)
    tick()
    assert tiles(find).shape == (20, 10)
    assert np.argwhere(tiles(find) == State.TIMEOUT).tolist() == [[3, 1]]
    assert find("tiles").data["x"] == [100]
    find("map").y_range.update(start=15.0, end=18.0)  # from below
    tick()
    assert np.argwhere(tiles(find) == State.TIMEOUT).tolist() == [[1, 1]]
    assert find("tiles").data["y"] == [15]


def test_any_two_axes_can_be_chosen():
    scene = Scene((Axis("a", (1, 2, 3)), Axis("b", ("x", "y")), Axis("c", (0.1, 0.2, 0.3, 0.4))))
    scene.states.reshape(3, 2, 4)[2, 1, 0] = State.COMPLETED
    _, find, tick = drawn(scene)
    assert (find("down").value, find("across").value) == ("a", "c")
    find("down").value, find("across").value = "b", "a"
    tick()
    assert tiles(find).shape == (2, 3)
    find("down").value = ""
    tick()
    assert tiles(find).shape == (1, 3)
    assert find("tiles").data["done"][0].tolist() == [[0, 0, 1]]


def test_a_design_of_one_axis_is_a_row():
    _, find, _ = drawn(Scene((Axis("case", tuple(range(7))),)))
    assert tiles(find).shape == (1, 7)


def test_the_words_are_escaped_and_tell_what_is_short():
    scene = Scene()
    scene.troubles = [Trouble(3, "3 failure: <script>", "r0001/mock", "campaign retry x")]
    scene.nodes.append(NodeLook("nid02", 64, 0, 0, 0, None, "lost"))
    _, find, _ = drawn(scene)
    head = find("head").text
    assert "v1.0 &lt;roman&gt;" in head
    assert "The work needs 1 h 00 min, the allocation ends in 30 min 00 s" in head
    assert "load 0.5 s, compute 2 s" in head
    assert "&lt;script&gt;" in find("troubles").text
    assert "nid02 (lost)" in find("nodes").text
    assert "16 GiB of 256 GiB" in find("nodes").text


@pytest.mark.parametrize(("asked", "told"), [("12", "job 12 is told &lt;of&gt;"), ("nonsense", "there is no job")])
def test_a_job_is_told_of(asked, told):
    import asyncio

    doc, find, _ = drawn(Scene())
    find("job").value = asked
    (asking,) = [callback for callback in doc.session_callbacks if not hasattr(callback, "period")]
    asyncio.run(asking.callback())
    assert told in find("told").text


def test_a_place_that_is_pointed_at_is_told_of():
    _, find, _ = drawn(Scene())
    tap = Tap(find("map"), x=5.5, y=20 - 3.2)
    find("map")._trigger_event(tap)
    assert f"job {5 * 20 + 3} is" in find("told").text


def test_forgotten_moments_of_the_rate_are_drawn_no_more():
    scene = Scene()
    _, find, tick = drawn(scene)
    scene.rates = [(1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]
    redraw(scene, tick)
    assert find("rates").data["rate"] == [120.0, 180.0, 240.0]
    scene.rates = [(1.0, 2.0), (3.0, 4.0)]
    redraw(scene, tick)
    assert find("rates").data["elapsed_s"] == [1.0, 3.0]
    scene.rates = [(1.0, 2.0), (5.0, 1.0), (9.0, 3.0)]  # looked at so seldom that others have come since
    redraw(scene, tick)
    assert find("rates").data["elapsed_s"] == [1.0, 5.0, 9.0]


def test_hovering_names_the_values_of_a_tile():
    _, find, tick = drawn(Scene((Axis("case", tuple(range(2500))), Axis("b", ("x", "y", "z")))))
    across, down = (find("hover").formatters[name].args for name in ("$x", "$y"))
    assert (across["first"], across["each"], across["labels"][:2], across["labels"][-1]) == (
        0,
        3,
        ["0 to 2", "3 to 5"],
        "2499",
    )
    assert (down["first"], down["each"], down["labels"]) == (0, 1, ["z", "y", "x"])
    find("map").x_range.update(start=600.0, end=700.0)
    tick()
    across = find("hover").formatters["$x"].args
    assert (across["first"], across["each"], across["labels"][0]) == (600, 1, "600")
