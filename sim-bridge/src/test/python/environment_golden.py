#!/usr/bin/env python3
"""Writes reference trajectories of the published tasks for EnvironmentGoldenTest.

    pip install gymnasium mujoco numpy
    python3 environment_golden.py ../resources/environment-golden

A file has one comment line (source and versions), then one line per step: action, state after the step, reward, terminated; the first
line's action is empty and its state is the initial one. Gymnasium's own classes step acrobot, pendulum and mountain car (in double
precision); MuJoCo steps cart-pole and reacher from models with the numbers of the DeepMind Control Suite's, whose rewards are
recomputed here.
"""
import pathlib
import sys

import gymnasium
import mujoco
import numpy as np

CARTPOLE = """
<mujoco>
  <option timestep="0.01" integrator="RK4"><flag contact="disable"/></option>
  <worldbody>
    <body pos="0 0 1">
      <joint name="slider" type="slide" limited="true" axis="1 0 0" range="-1.8 1.8" solreflimit=".08 1" damping="5e-4"/>
      <geom type="box" size="0.2 0.15 0.1" mass="1"/>
      <body>
        <joint name="hinge" type="hinge" axis="0 1 0" damping="2e-6"/>
        <geom type="capsule" fromto="0 0 0 0 0 1" size="0.045" mass=".1"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="slider" gear="10" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>"""

REACHER = """
<mujoco>
  <option timestep="0.02"><flag contact="disable"/></option>
  <default><joint type="hinge" axis="0 0 1" damping="0.01"/><motor gear=".05" ctrlrange="-1 1" ctrllimited="true"/></default>
  <worldbody>
    <body pos="0 0 .01">
      <geom type="capsule" fromto="0 0 0 0.12 0 0" size=".01"/>
      <joint name="shoulder"/>
      <body pos=".12 0 0">
        <geom type="capsule" fromto="0 0 0 0.1 0 0" size=".01"/>
        <joint name="wrist" limited="true" range="-160 160"/>
        <body pos=".12 0 0"><geom name="finger" type="sphere" size=".01"/></body>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="shoulder"/><motor joint="wrist"/></actuator>
</mujoco>"""

VERSIONS = f"gymnasium {gymnasium.__version__}, mujoco {mujoco.__version__}, numpy {np.__version__}"


def write(folder, name, source, rows):
    lines = [f"# {source}; {VERSIONS}"]
    for action, state, reward, terminated in rows:
        lines.append(";".join([
            " ".join(repr(float(a)) for a in action), " ".join(repr(float(s)) for s in state), repr(float(reward)), str(int(terminated))]))
    (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def gym_rows(env_id, state, actions):
    env = gymnasium.make(env_id).unwrapped
    env.reset(seed=0)
    env.state = np.array(state, dtype=np.float64)
    rows = [((), state, 0, False)]
    for action in actions:
        _, reward, terminated, _, _ = env.step(int(action) if env_id.startswith("Acrobot") else np.array([action]))
        # MountainCarContinuous stores float32; carry on from what it stored.
        rows.append(((action,), env.state, reward, terminated))
        env.state = np.array(env.state, dtype=np.float64)
        if terminated:
            break
    return rows


def gaussian(x, margin):
    return np.exp(-0.5 * (x / margin * np.sqrt(-2 * np.log(0.1))) ** 2)


def cartpole_rows(state, actions):
    model = mujoco.MjModel.from_xml_string(CARTPOLE)
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = state[:2], state[2:]
    rows = [((), state, 0, False)]
    for action in actions:
        data.ctrl[0] = action
        mujoco.mj_step(model, data)
        x, angle, _, velocity = *data.qpos, *data.qvel
        reward = ((np.cos(angle) + 1) / 2 * (1 + gaussian(x, 2)) / 2 * (4 + max(0, 1 - action ** 2)) / 5 * (1 + gaussian(velocity, 5)) / 2)
        rows.append(((action,), (*data.qpos, *data.qvel), reward, False))
    return rows


def reacher_rows(state, target, actions):
    model = mujoco.MjModel.from_xml_string(REACHER)
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = state[:2], state[2:]
    rows = [((), (*state, *target), 0, False)]
    for action in actions:
        data.ctrl[:] = action
        mujoco.mj_step(model, data)
        mujoco.mj_forward(model, data)
        distance = np.linalg.norm(np.array(target) - data.geom("finger").xpos[:2])
        rows.append((action, (*data.qpos, *data.qvel, *target), float(distance <= 0.06), False))
    return rows


def float32(actions):
    """Actions reach an environment as floats."""
    return np.asarray(actions, dtype=np.float32).astype(np.float64)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    t = np.arange(200)
    write(folder, "pendulum", "Pendulum-v1", gym_rows("Pendulum-v1", [3.0, -0.7], float32(2 * np.sin(0.13 * t))))
    write(folder, "acrobot", "Acrobot-v1", gym_rows("Acrobot-v1", [0.05, -0.08, 0.02, 0.09], (t // 5 * 7) % 3))
    swing = np.where((t // 40) % 2 == 0, -0.9, 1.0)
    write(folder, "mountain-car-continuous", "MountainCarContinuous-v0", gym_rows("MountainCarContinuous-v0", [-0.55, 0.0], float32(swing)))
    write(folder, "cartpole-swingup", "DeepMind Control cartpole model", cartpole_rows([0.01, np.pi + 0.02, -0.01, 0.015], float32(np.sin(0.11 * t))))
    write(folder, "cartpole-balance", "DeepMind Control cartpole model, driven into its rail",
          cartpole_rows([0.5, 0.03, 0.0, 0.01], float32(np.minimum(1.0, 0.02 * t))))
    arm = np.stack([np.sin(0.09 * t), np.where(t < 60, 1.0, np.cos(0.17 * t))], axis=1)
    write(folder, "reacher", "DeepMind Control reacher model, driven into its wrist limit", reacher_rows([0.4, -1.0, 0.0, 0.0], [0.1, -0.12], float32(arm)))


main()
