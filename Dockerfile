# AdaMoE nodes on a ROS 2 distribution's image; nobody needs it (doc/robot_computer.md).
#   docker build -t adamoe_ros --build-arg ROS_DISTRO=jazzy .
#   docker run --rm -it --network host --ipc host --ulimit rtprio=80 --ulimit memlock=-1 adamoe_ros adamoe doctor
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /ros2_ws
COPY . src/adamoe_ros

# what ROS and Ubuntu package
RUN apt-get update \
    && rosdep update --rosdistro "$ROS_DISTRO" \
    && rosdep install --from-paths src --ignore-src -y \
    && rm -rf /var/lib/apt/lists/*

# the rest; TORCH_INDEX=https://download.pytorch.org/whl/cpu without an NVIDIA GPU
ARG TORCH_INDEX=
ARG TORCH=
ENV PIP_NO_CACHE_DIR=1
RUN . "/opt/ros/$ROS_DISTRO/setup.bash" \
    && src/adamoe_ros/tools/robot_setup.sh \
    && colcon build --packages-select adamoe_ros

# the image's own entry point sources ROS alone
ENTRYPOINT ["/bin/bash", "-c", ". /opt/ros/$ROS_DISTRO/setup.bash && . install/setup.bash && exec \"$@\"", "--"]
CMD ["adamoe", "doctor"]
