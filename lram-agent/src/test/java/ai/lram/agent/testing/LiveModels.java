package ai.lram.agent.testing;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.backend.Backend;
import java.util.Random;

/** Untrained models whose gates, states and logits are alive: every weight is drawn wide enough to matter. */
public final class LiveModels {
    private LiveModels() {}

    public static Lram of(Backend on, LramConfig config) {
        Lram model = new Lram(config).allocate(on, false);
        model.parameters().initialize(17);
        for (Parameter p : model.parameters().all()) {
            double spread = spread(p.name());
            if (spread > 0) {
                Random r = new Random(p.name().hashCode());
                float[] a = model.parameters().read(p.value());
                for (int i = 0; i < a.length; i++) {
                    a[i] += (float) (spread * r.nextGaussian());
                }
                model.parameters().write(p.value(), a);
            }
        }
        return model;
    }

    private static double spread(String name) {
        if (name.contains("gate.weight")) {
            return 0.15;
        }
        if (name.contains("_recurrent_kernel_")) {
            return 0.1;
        }
        return name.startsWith("embed_") || name.startsWith("action_net") ? 0.4 : 0;
    }
}
