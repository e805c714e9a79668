package ai.lram.agent.checkpoint;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/** Finds a model's parameters in a file, in any of the published layouts. */
final class ParameterReader {
    private ParameterReader() {}

    /**
     * Checks that every parameter is there with a shape that fits.
     *
     * @param prefix of the names in the file
     * @return names of the file that belong to no parameter
     */
    static List<String> requireAll(ParameterSet set, Safetensors file, String prefix) {
        Set<String> extra = new LinkedHashSet<>(file.names());
        for (Parameter p : set.all()) {
            require(file, prefix, p);
            extra.remove(prefix + p.name());
        }
        return new ArrayList<>(extra);
    }

    static void require(Safetensors file, String prefix, Parameter p) {
        String name = prefix + p.name();
        if (!file.contains(name)) {
            throw new IncompatibleCheckpointException(
                    file.path() + " lacks the tensor " + name,
                    "the model needs " + Arrays.toString(p.shape()) + " of that name; the file holds "
                            + file.names().size() + " tensors",
                    "use the weights that belong to the config");
        }
        HostTensor t = file.tensor(name);
        if (!fits(p, t.shape())) {
            throw new IncompatibleCheckpointException(
                    file.path() + ": tensor " + name + " has the wrong shape",
                    "it is " + Arrays.toString(t.shape()) + ", the model needs "
                            + Arrays.toString(ParameterLayout.fileShape(p.name(), p.shape())),
                    "use the weights that belong to the config");
        }
    }

    static boolean fits(Parameter p, int[] shape) {
        return Arrays.equals(shape, ParameterLayout.fileShape(p.name(), p.shape()))
                || ParameterLayout.isRecurrent(p.name())
                        && Arrays.equals(shape, ParameterLayout.gpuFileShape(p.shape()));
    }

    /** Values in the layout of memory. @throws CorruptCheckpointException if one is NaN or infinite */
    static float[] read(Safetensors file, String prefix, Parameter p) {
        String name = prefix + p.name();
        HostTensor t = file.tensor(name);
        float[] a = t.floats();
        for (int i = 0; i < a.length; i++) {
            if (!Float.isFinite(a[i])) {
                throw new CorruptCheckpointException(
                        file.path() + ": tensor " + name + " is not finite",
                        "element " + i + " is " + a[i],
                        "go back to an earlier checkpoint");
            }
        }
        if (ParameterLayout.isRecurrent(p.name())) {
            return ParameterLayout.recurrentFromFile(p.shape(), t.shape(), a);
        }
        if (ParameterLayout.isSlstmBias(p.name())) {
            String kernel = prefix + ParameterLayout.recurrentOf(p.name());
            int[] shape = file.tensor(kernel).shape();
            int width = p.size() / 4;
            boolean gpu = shape.length == 3 && shape[2] == 4 * shape[1] && shape[0] * shape[1] == width;
            return gpu ? ParameterLayout.biasFromGpuFile(shape[0], a) : a;
        }
        return a;
    }
}
