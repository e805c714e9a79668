package ai.lram.bridge.env.expert;

/**
 * Mountain car: pushes the way the car rolls, softly around rest, with seven tenths of the force. Less force would
 * earn up to three points more over three times as many steps.
 */
final class MountainCarExpert implements ScriptedPolicy {
    @Override
    public void act(float[] observation, float[] action) {
        action[0] = (float) (0.7 * Math.tanh((observation[1] + 0.001) / 0.004));
    }
}
