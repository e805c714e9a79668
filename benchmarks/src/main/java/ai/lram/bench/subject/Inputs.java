package ai.lram.bench.subject;

import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.PolicyBatch;
import java.util.Random;

/** Made-up inputs of a task, drawn once and given out again and again. Filling a batch allocates nothing. */
public final class Inputs {
    private static final int DRAWN = 64;
    private static final float TARGET = 100;
    private static final float REWARD = 0.01f;

    private final float[][] observations = new float[DRAWN][];
    private final byte[][] images = new byte[DRAWN][];

    public Inputs(TaskCard task, long seed) {
        Random random = new Random(seed);
        for (int i = 0; i < DRAWN; i++) {
            observations[i] = new float[task.observationSize()];
            for (int j = 0; j < observations[i].length; j++) {
                observations[i][j] = (float) random.nextGaussian();
            }
            images[i] = new byte[task.imageBytes()];
            random.nextBytes(images[i]);
        }
    }

    /** Observation of a step; not to be written to. */
    public float[] observation(long step) {
        return observations[(int) (step % DRAWN)];
    }

    /** Image of a step, empty for a task without; not to be written to. */
    public byte[] image(long step) {
        return images[(int) (step % DRAWN)];
    }

    /** Reward that follows the action of a step. */
    public float reward(long step) {
        return REWARD * (step % 7);
    }

    /** Fills one row with the inputs of {@code step}, 0 for an episode's first. */
    public void fill(PolicyBatch batch, int row, int slot, long step) {
        batch.slot[row] = slot;
        batch.first[row] = step == 0;
        batch.reward[row] = step == 0 ? 0 : reward(step - 1);
        batch.returnToGo[row] = TARGET - step % 50;
        float[] o = observation(step + row);
        System.arraycopy(o, 0, batch.observation[row], 0, o.length);
        byte[] pixels = image(step + row);
        if (pixels.length > 0) {
            System.arraycopy(pixels, 0, batch.image[row], 0, pixels.length);
        }
    }
}
