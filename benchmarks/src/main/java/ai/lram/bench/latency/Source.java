package ai.lram.bench.latency;

import ai.lram.agent.card.TaskCard;
import ai.lram.bench.subject.Inputs;
import ai.lram.bridge.env.Environment;
import ai.lram.bridge.env.EnvironmentRegistry;

/** Where a robot's observations come from. Single thread. */
interface Source {
    /** The observation that is due; not to be kept or written to. */
    float[] observation();

    /** Its image, empty without one; not to be written to. */
    byte[] image();

    /** Reward of the action before. */
    float reward();

    /** Whether the observation starts an episode. */
    boolean reset();

    /** Executes an action and goes on to the next observation. */
    void act(float[] action);

    /** Breaks the episode off; the next observation starts one. */
    void restart();

    /** Made-up observations of a task's shape; actions change nothing. */
    static Source drawn(TaskCard task, long seed) {
        Inputs inputs = new Inputs(task, seed);
        return new Source() {
            private long at;

            @Override
            public float[] observation() {
                return inputs.observation(at);
            }

            @Override
            public byte[] image() {
                return inputs.image(at);
            }

            @Override
            public float reward() {
                return at == 0 ? 0 : inputs.reward(at - 1);
            }

            @Override
            public boolean reset() {
                return at == 0;
            }

            @Override
            public void act(float[] action) {
                at++;
            }

            @Override
            public void restart() {
                at = 0;
            }
        };
    }

    /** An environment of this build, episode after episode from {@code seed} on. */
    static Source live(String environment, long seed) {
        Environment env = EnvironmentRegistry.create(environment);
        float[] observation = new float[env.spec().observationSize()];
        env.reset(seed, observation);
        return new Source() {
            private final byte[] none = {};
            private long episode = seed;
            private boolean fresh = true;

            @Override
            public float[] observation() {
                return observation;
            }

            @Override
            public byte[] image() {
                return none;
            }

            @Override
            public float reward() {
                return fresh ? 0 : env.reward();
            }

            @Override
            public boolean reset() {
                return fresh;
            }

            @Override
            public void act(float[] action) {
                if (env.done()) {
                    throw new IllegalStateException("the episode is over");
                }
                env.step(action, observation);
                fresh = env.done();
                if (fresh) {
                    restart();
                }
            }

            @Override
            public void restart() {
                fresh = true;
                env.reset(++episode, observation);
            }
        };
    }
}
