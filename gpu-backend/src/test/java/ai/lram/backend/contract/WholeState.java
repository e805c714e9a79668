package ai.lram.backend.contract;

import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmSpec.InputGate;
import ai.lram.backend.reference.ReferenceMlstm;

/**
 * What the sessions of an mLSTM layer hold once every ring has been folded, in fp64: C, n and m of each slot's heads. Of two engines' states it
 * is what must agree; how many tokens lie in a ring is each one's own choice.
 */
final class WholeState {
    private final int heads;
    private final double[][] c; // of a head: (DHQK, DHHV)
    private final double[][] n;
    private final double[] m;

    private WholeState(int cells, int heads) {
        this.heads = heads;
        c = new double[cells][];
        n = new double[cells][];
        m = new double[cells];
    }

    static WholeState of(Fixture fx, MlstmSpec spec, MlstmSlots slots) {
        int heads = slots.matC().dim(1);
        int dq = slots.matC().dim(2);
        int dv = slots.matC().dim(3);
        int ring = slots.ringK().dim(2);
        WholeState whole = new WholeState(slots.matC().dim(0) * heads, heads);
        float[] matC = fx.read(slots.matC());
        float[] vecN = fx.read(slots.vecN());
        float[] scaM = fx.read(slots.scaM());
        float[] keys = fx.read(slots.ringK());
        float[] values = fx.read(slots.ringV());
        float[] inputs = fx.read(slots.ringI());
        float[] forgets = fx.read(slots.ringF());
        int[] lengths = fx.readInts(slots.ringLength());
        int[] folded = fx.readInts(slots.folded());
        boolean exponential = spec.inputGate() == InputGate.EXPONENTIAL;
        for (int cell = 0; cell < whole.m.length; cell++) {
            int held = lengths[cell];
            double[] logs = new double[held]; // weights of the ring's tokens
            double after = 0;
            for (int s = held - 1; s >= 0; s--) {
                float gate = inputs[cell * ring + s];
                logs[s] = after + (exponential ? gate : ReferenceMlstm.logSigmoid(gate));
                after += forgets[cell * ring + s];
            }
            double m = exponential ? after + scaM[cell] : 0;
            for (int s = 0; s < held && exponential; s++) {
                m = Math.max(m, logs[s]);
            }
            double keep = folded[cell] == 0 ? 0 : Math.exp(after + scaM[cell] - m);
            double[] c = new double[dq * dv];
            double[] n = new double[dq];
            for (int d = 0; d < dq && keep != 0; d++) {
                n[d] = keep * vecN[cell * dq + d];
                for (int e = 0; e < dv; e++) {
                    c[d * dv + e] = keep * matC[(cell * dq + d) * dv + e];
                }
            }
            for (int s = 0; s < held; s++) {
                double weight = Math.exp(logs[s] - m);
                int at = cell * ring + s;
                for (int d = 0; d < dq; d++) {
                    double key = weight * keys[at * dq + d];
                    n[d] += key;
                    for (int e = 0; e < dv; e++) {
                        c[d * dv + e] += key * values[at * dv + e];
                    }
                }
            }
            whole.c[cell] = c;
            whole.n[cell] = n;
            whole.m[cell] = m;
        }
        return whole;
    }

    /**
     * Largest difference of C, n and m of any head: of C and n, both at the larger stabiliser, by the largest element of the head; of m by its
     * magnitude, at least 1. Infinite where a number is not finite.
     */
    double error(WholeState want) {
        double worst = 0;
        for (int cell = 0; cell < m.length; cell++) {
            worst = Math.max(worst, error(want, cell));
        }
        return worst;
    }

    private double error(WholeState want, int cell) {
        double common = Math.max(m[cell], want.m[cell]);
        double own = Math.exp(m[cell] - common);
        double others = Math.exp(want.m[cell] - common);
        double ofM = Math.abs(m[cell] - want.m[cell]) / Math.max(1, Math.abs(want.m[cell]));
        double ofC = error(own, c[cell], others, want.c[cell]);
        double ofN = error(own, n[cell], others, want.n[cell]);
        double worst = Math.max(ofM, Math.max(ofC, ofN)); // NaN if one of them is
        return Double.isNaN(worst) ? Double.POSITIVE_INFINITY : worst;
    }

    private static double error(double own, double[] got, double others, double[] want) {
        double difference = 0;
        double scale = 0;
        for (int i = 0; i < got.length; i++) {
            difference = Math.max(difference, Math.abs(own * got[i] - others * want[i]));
            scale = Math.max(scale, Math.abs(others * want[i]));
        }
        return difference == 0 ? 0 : difference / scale;
    }

    /** The head in which {@link #error} is largest, in words. */
    String worst(WholeState want) {
        int worst = 0;
        for (int cell = 1; cell < m.length; cell++) {
            if (error(want, cell) > error(want, worst)) {
                worst = cell;
            }
        }
        return "slot " + worst / heads + ", head " + worst % heads + ", m " + m[worst] + " for " + want.m[worst];
    }
}
