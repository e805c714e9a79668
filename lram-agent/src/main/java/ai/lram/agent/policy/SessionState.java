package ai.lram.agent.policy;

import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmSlots;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;

/**
 * A session's state as {@link LramPolicy} saves it: its slot of every tensor, one after the other in the order in which they were named; what
 * is kept in bf16 as fp32, so that sessions move between engines. One thread owns an instance.
 */
final class SessionState {
    /**
     * @param all of every slot, slots first
     * @param most the largest number that stands there, if they are integers; the least is 0
     * @param at where it begins in a saved state
     * @param bytes of a slot, as they are saved
     */
    private record Part(Tensor all, int most, long at, long bytes) {
        MemorySegment of(MemorySegment saved) {
            return saved.asSlice(at, bytes);
        }
    }

    private final Backend backend;
    private final Stream stream;
    private final Tensor wide;
    private final List<Part> parts = new ArrayList<>();
    private long bytes;

    /** @param wide where a part kept in bf16 is widened, as large as the largest of a session; null where none is */
    SessionState(Backend backend, Tensor wide) {
        this.backend = backend;
        this.stream = backend.stream();
        this.wide = wide;
    }

    /** Next comes an mLSTM layer. */
    void add(MlstmSlots s, Tensor history) {
        add(s.matC(), s.vecN(), s.scaM(), s.ringK(), s.ringV(), s.ringI(), s.ringF());
        add(s.ringLength(), s.ringI().shape()[2]);
        add(s.folded(), 1);
        add(history);
    }

    /** Next come these. */
    void add(Tensor... floats) {
        for (Tensor t : floats) {
            add(t, 0);
        }
    }

    private void add(Tensor all, int most) {
        long ofAll = all.dtype() == DType.BF16 ? Float.BYTES * all.size() : all.bytes();
        Part p = new Part(all, most, bytes, ofAll / all.shape()[0]);
        parts.add(p);
        bytes += p.bytes;
    }

    /** Of one session. */
    long bytes() {
        return bytes;
    }

    /** @throws PolicyException if {@code target} is too small */
    void save(int slot, MemorySegment target) {
        PolicyException.requireRoom(target.byteSize(), bytes);
        for (Part p : parts) {
            Tensor s = p.all.slice(slot, 1);
            if (s.dtype() == DType.BF16) {
                Tensor full = widened(s);
                backend.ops().mixed().widen(stream, s, full);
                s = full;
            }
            backend.download(stream, s, p.of(target));
        }
        stream.synchronize();
    }

    /** @throws PolicyException if that is no state of this model and schedule; then nothing has changed */
    void restore(int slot, MemorySegment source) {
        PolicyException.requireStateSize(source.byteSize(), bytes);
        requireIntegers(source);
        for (Part p : parts) {
            Tensor s = p.all.slice(slot, 1);
            boolean narrow = s.dtype() == DType.BF16;
            Tensor full = narrow ? widened(s) : s;
            backend.upload(stream, full, p.of(source));
            if (narrow) {
                backend.ops().mixed().narrow(stream, full, s);
            }
        }
        stream.synchronize();
    }

    /** Kernels take lengths of rings for true. */
    private void requireIntegers(MemorySegment source) {
        for (Part p : parts) {
            if (p.all.dtype() == DType.I32) {
                for (long i = p.at; i < p.at + p.bytes; i += Integer.BYTES) {
                    int n = source.get(ValueLayout.JAVA_INT_UNALIGNED, i);
                    if (n < 0 || n > p.most) {
                        throw new PolicyException(
                                "a session state with " + n + " at byte " + i,
                                "there stands a number of 0 to " + p.most + " in states of this model",
                                "restore what saveState wrote, unchanged");
                    }
                }
            }
        }
    }

    private Tensor widened(Tensor part) {
        return wide.view(0, part.shape());
    }
}
