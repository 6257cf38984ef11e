"""Starts the node of spatial_ssrl.

Arguments that are left empty leave the parameter file's word as it is.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

# Name, default, what it is for.
ARGUMENTS = [
    ('params_file', 'realsense.yaml',
     'A parameter file: a path, or the name of one of this package (realsense.yaml, oak.yaml, '
     'zed.yaml, kinect.yaml)'),
    ('namespace', '', "The node's namespace, as in /robot"),
    ('name', 'spatial_ssrl', "The node's name"),
    ('camera_namespace', '', "The camera's namespace, as in /camera/camera; several: a,b"),
    ('autostart', '', 'true: configure and activate at once; else a lifecycle manager does'),
    ('use_sim_time', '', 'true: take the time from /clock'),
    ('out_directory', '', 'Where policy and checkpoints are kept'),
    ('log_level', 'info', 'debug, info, warn, error or fatal'),
]


def params_file(given):
    """The file as given, or the one of this package with that name."""
    if os.path.sep in given or os.path.isfile(given):
        return given
    return os.path.join(get_package_share_directory('spatial_ssrl'), 'config', given)


def truth(name, given):
    """A launch argument as a boolean parameter."""
    if given.lower() not in ('true', 'false'):
        raise RuntimeError(f'{name}:={given}: expected true or false')
    return given.lower() == 'true'


def overrides(given):
    """Parameters that arguments set over the file."""
    parameters = {}
    if given['camera_namespace']:
        parameters['cameras'] = [c.strip() for c in given['camera_namespace'].split(',')]
    if given['out_directory']:
        parameters['out_directory'] = given['out_directory']
    for name in ('autostart', 'use_sim_time'):
        if given[name]:
            parameters[name] = truth(name, given[name])
    return parameters


def start(context):
    """The node, once the arguments are known."""
    given = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    parameters = [params_file(given['params_file'])]
    if overrides(given):
        parameters.append(overrides(given))
    return [Node(
        package='spatial_ssrl',
        executable='spatial_ssrl_node',
        name=given['name'],
        namespace=given['namespace'],
        parameters=parameters,
        arguments=['--ros-args', '--log-level', given['log_level']],
        output='screen',
        emulate_tty=True,
        # It saves what it learnt when it is asked to end.
        sigterm_timeout='20',
    )]


def generate_launch_description():
    """What ros2 launch asks for."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, default, description in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
