package ai.lram.agent.golden;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.backend.golden.GoldenReport;
import ai.lram.backend.golden.Safetensors;

/** Moves parameters and gradients between a golden file's published layout and ours. */
final class GoldenParameters {
    private static final String RECURRENT = "_recurrent_kernel_";

    private GoldenParameters() {}

    /** Loads every parameter of the set from tensors named {@code filePrefix + name without ourPrefix}. */
    static void load(Safetensors file, String filePrefix, ParameterSet set, String ourPrefix) {
        for (Parameter p : set.all()) {
            String name = filePrefix + strip(p.name(), ourPrefix);
            if (!file.has(name)) {
                continue;
            }
            float[] a = file.f32(name);
            set.write(p.value(), p.name().endsWith(RECURRENT) ? fromPublished(a, p) : a);
        }
    }

    /** Compares the gradients of all parameters that the file has. */
    static void compareGradients(Safetensors file, GoldenReport report, ParameterSet set, String ourPrefix) {
        for (Parameter p : set.all()) {
            String name = "grad." + strip(p.name(), ourPrefix);
            if (file.has(name)) {
                float[] g = set.read(p.grad());
                report.compare(name, p.name().endsWith(RECURRENT) ? toPublished(g, p) : g);
            }
        }
    }

    private static String strip(String name, String prefix) {
        return name.startsWith(prefix) ? name.substring(prefix.length()) : name;
    }

    /** (NH, gate*DH_out + out, DH_in) to (NH, DH_in, 4, DH_out). */
    static float[] fromPublished(float[] a, Parameter p) {
        int heads = p.dim(0);
        int d = p.dim(1);
        float[] r = new float[a.length];
        for (int h = 0; h < heads; h++) {
            for (int row = 0; row < 4 * d; row++) {
                for (int in = 0; in < d; in++) {
                    r[(h * d + in) * 4 * d + row] = a[(h * 4 * d + row) * d + in];
                }
            }
        }
        return r;
    }

    static float[] toPublished(float[] r, Parameter p) {
        int heads = p.dim(0);
        int d = p.dim(1);
        float[] a = new float[r.length];
        for (int h = 0; h < heads; h++) {
            for (int row = 0; row < 4 * d; row++) {
                for (int in = 0; in < d; in++) {
                    a[(h * 4 * d + row) * d + in] = r[(h * d + in) * 4 * d + row];
                }
            }
        }
        return a;
    }
}
