"""What the state machine of ROS has and does. stdin: walks, lists of [label, outcomes]."""

import json
import sys

import rclpy
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

RETURNS = {
    "s": TransitionCallbackReturn.SUCCESS,
    "f": TransitionCallbackReturn.FAILURE,
    "e": TransitionCallbackReturn.ERROR,
}


class Walker(LifecycleNode):
    left = ""

    def work(self, state):
        outcome, self.left = self.left[:1] or "s", self.left[1:]
        return RETURNS[outcome]

    on_configure = on_activate = on_deactivate = on_cleanup = on_shutdown = on_error = work


rclpy.init()
told = {"walks": []}
for number, walk in enumerate(json.load(sys.stdin)):
    node = Walker(f"walker{number}")
    machine = node._state_machine
    told["states"], told["graph"] = machine.available_states, machine.transition_graph
    steps = []
    for label, outcomes in walk:
        node.left = outcomes
        request = ChangeState.Request()
        request.transition.label = label
        answer = node._LifecycleNodeMixin__on_change_state(request, ChangeState.Response())
        steps.append([answer.success, machine.current_state[1], machine.available_transitions])
    told["walks"].append(steps)
    node.destroy_node()
rclpy.shutdown()
print(json.dumps(told))
