package ai.lram.agent.xlstm;

import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.backend.Backend;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.MlstmState;
import ai.lram.backend.ops.Ops;
import java.util.ArrayList;
import java.util.List;

/** Recurrent state of a stack for B sequences that are trained window by window. Rows are emptied one by one as episodes end. */
public final class CarriedState implements AutoCloseable {
    /** State of one block: the mLSTM's or the sLSTM's, and the convolution's last inputs (B, K-1, C). */
    public static final class Layer {
        private final MlstmState mlstm;
        private final Tensor slstm;
        private final Tensor history;

        private Layer(MlstmState mlstm, Tensor slstm, Tensor history) {
            this.mlstm = mlstm;
            this.slstm = slstm;
            this.history = history;
        }

        Tape.CarriedMlstm mlstm() {
            return new Tape.CarriedMlstm(mlstm);
        }

        Tensor slstm() {
            return slstm;
        }

        Value history(Tape tape) {
            return tape.external("conv history", history);
        }
    }

    private final Backend backend;
    private final TensorArena arena;
    private final int batch;
    private final List<Layer> layers = new ArrayList<>();

    public CarriedState(Backend backend, XlstmConfig c, int batch) {
        this.backend = backend;
        this.batch = batch;
        arena = backend.arena("carried state");
        int d = c.headDim();
        for (int i = 0; i < c.blocks(); i++) {
            if (c.isSlstm(i)) {
                layers.add(new Layer(
                        null, arena.f32(4, batch, c.width()), arena.f32(batch, XlstmConfig.CONV - 1, c.width())));
            } else {
                layers.add(new Layer(
                        new MlstmState(
                                arena.f32(batch, c.heads(), d, d),
                                arena.f32(batch, c.heads(), d),
                                arena.f32(batch, c.heads())),
                        null,
                        arena.f32(batch, XlstmConfig.CONV - 1, c.inner())));
            }
        }
    }

    Layer layer(int i) {
        return layers.get(i);
    }

    /** Empties the state of sequence {@code row}. */
    public void reset(int row) {
        Ops o = backend.ops();
        for (Layer l : layers) {
            zero(o, l.history, row);
            if (l.mlstm != null) {
                zero(o, l.mlstm.matC(), row);
                zero(o, l.mlstm.vecN(), row);
                zero(o, l.mlstm.scaM(), row);
            } else {
                int h = l.slstm.dim(2);
                for (int part = 0; part < 4; part++) {
                    o.elementwise().fill(backend.stream(), 0f, l.slstm.view((long) (part * batch + row) * h, h));
                }
            }
        }
    }

    /** Every tensor of the state, in a fixed order, for checkpoints. */
    public List<Tensor> tensors() {
        List<Tensor> all = new ArrayList<>();
        for (Layer l : layers) {
            all.add(l.history);
            if (l.mlstm != null) {
                all.add(l.mlstm.matC());
                all.add(l.mlstm.vecN());
                all.add(l.mlstm.scaM());
            } else {
                all.add(l.slstm);
            }
        }
        return all;
    }

    private void zero(Ops o, Tensor t, int row) {
        o.elementwise().fill(backend.stream(), 0f, t.slice(row, 1));
    }

    @Override
    public void close() {
        arena.close();
    }
}
