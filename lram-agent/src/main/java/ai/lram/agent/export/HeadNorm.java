package ai.lram.agent.export;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.backend.ops.NormSpec;
import java.util.Arrays;

/** The norm per head behind a cell. */
record HeadNorm(GraphBuilder g, Linear linear) {
    /** (B, L, NH, DH) to (B, L, NH * DH). */
    String forward(String h, NormSpec spec, Parameter weight) {
        int width = weight.size();
        float[] ones = new float[width / spec.groups()];
        Arrays.fill(ones, 1);
        String normed = g.layerNorm(h, g.floats(ones, ones.length), null, spec.eps());
        return g.mul(g.reshape(normed, 0, -1, width), linear.residualScale(weight));
    }
}
