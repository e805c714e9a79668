package ai.lram.agent.checkpoint;

import java.util.Arrays;

/**
 * Between a parameter's layout in memory and in published files. Only sLSTM cells differ: memory holds the recurrent kernel as
 * (NH, DH_in, 4, DH_out) and the bias as (4, NH, DH); files of the plain implementation hold (NH, 4 * DH_out, DH_in) and (4, NH, DH), files
 * of the published GPU kernels (NH, DH_in, 4 * DH_out) and (NH, 4, DH).
 */
final class ParameterLayout {
    private static final String RECURRENT = "slstm_cell._recurrent_kernel_";
    private static final String BIAS = "slstm_cell._bias_";

    private ParameterLayout() {}

    static boolean isRecurrent(String name) {
        return name.endsWith(RECURRENT);
    }

    static boolean isSlstmBias(String name) {
        return name.endsWith(BIAS);
    }

    /** Name of the recurrent kernel that belongs to a bias. */
    static String recurrentOf(String biasName) {
        return biasName.substring(0, biasName.length() - BIAS.length()) + RECURRENT;
    }

    /** Shape in files we write. */
    static int[] fileShape(String name, int[] memoryShape) {
        return isRecurrent(name) ? new int[] {memoryShape[0], 4 * memoryShape[3], memoryShape[1]} : memoryShape.clone();
    }

    /** Shape of a recurrent kernel in files of the published GPU kernels. */
    static int[] gpuFileShape(int[] memoryShape) {
        return new int[] {memoryShape[0], memoryShape[1], 4 * memoryShape[3]};
    }

    static float[] toFile(String name, int[] memoryShape, float[] memory) {
        return isRecurrent(name) ? swapLast(memory, memoryShape[0], memoryShape[1], 4 * memoryShape[3]) : memory;
    }

    /** @param fileShape shape found in the file, one of the two above */
    static float[] recurrentFromFile(int[] memoryShape, int[] fileShape, float[] file) {
        return Arrays.equals(fileShape, gpuFileShape(memoryShape))
                ? file
                : swapLast(file, memoryShape[0], 4 * memoryShape[3], memoryShape[1]);
    }

    /** (NH, 4, DH) to (4, NH, DH). */
    static float[] biasFromGpuFile(int heads, float[] file) {
        int dh = file.length / (4 * heads);
        float[] out = new float[file.length];
        for (int h = 0; h < heads; h++) {
            for (int gate = 0; gate < 4; gate++) {
                System.arraycopy(file, (h * 4 + gate) * dh, out, (gate * heads + h) * dh, dh);
            }
        }
        return out;
    }

    private static float[] swapLast(float[] in, int n, int rows, int columns) {
        float[] out = new float[in.length];
        for (int b = 0; b < n; b++) {
            int base = b * rows * columns;
            for (int r = 0; r < rows; r++) {
                for (int c = 0; c < columns; c++) {
                    out[base + c * rows + r] = in[base + r * columns + c];
                }
            }
        }
        return out;
    }
}
