package ai.lram.agent.autodiff;

import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;

/**
 * All parameters of a model, in one contiguous buffer (decayed ones first), with gradients and optimiser moments laid out alike, so that
 * clipping and AdamW are two kernels over everything.
 */
public final class ParameterSet implements AutoCloseable {
    /** Every parameter starts at a multiple of this many floats: 64 bytes. */
    private static final int ALIGN = 16;

    private final Map<String, Parameter> byName = new LinkedHashMap<>();
    private Backend backend;
    private TensorArena arena;
    private Tensor values;
    private Tensor grads;
    private Tensor first;
    private Tensor second;
    private Tensor narrow;
    private int decayedFloats;

    /** Declares a parameter; before {@link #allocate} only. */
    public Parameter add(String name, boolean decay, Init init, int... shape) {
        if (arena != null) {
            throw new IllegalStateException("parameter " + name + " was declared after allocation");
        }
        Parameter p = new Parameter(name, decay, init, shape);
        if (byName.put(name, p) != null) {
            throw new IllegalArgumentException(
                    "parameter " + name + " is declared twice; give every layer its own prefix");
        }
        return p;
    }

    public Collection<Parameter> all() {
        return Collections.unmodifiableCollection(byName.values());
    }

    /** The parameter of that checkpoint name, or null. */
    public Parameter get(String name) {
        return byName.get(name);
    }

    /** Number of trainable numbers. */
    public long count() {
        long n = 0;
        for (Parameter p : byName.values()) {
            n += p.size();
        }
        return n;
    }

    /** Places all parameters in memory of {@code onBackend}; gradients and moments too where {@code training}. */
    public void allocate(Backend onBackend, boolean training) {
        backend = onBackend;
        arena = onBackend.arena("parameters");
        List<Parameter> order = new ArrayList<>();
        byName.values().stream().filter(Parameter::decay).forEach(order::add);
        int firstPlain = order.size();
        byName.values().stream().filter(p -> !p.decay()).forEach(order::add);
        long floats = 0;
        long[] at = new long[order.size()];
        for (int i = 0; i < order.size(); i++) {
            if (i == firstPlain) {
                decayedFloats = Math.toIntExact(floats);
            }
            at[i] = floats;
            floats += (order.get(i).size() + ALIGN - 1) / ALIGN * ALIGN;
        }
        int n = Math.toIntExact(floats);
        if (firstPlain == order.size()) {
            decayedFloats = n;
        }
        values = arena.f32(n);
        if (training) {
            grads = arena.f32(n);
            first = arena.f32(n);
            second = arena.f32(n);
        }
        for (int i = 0; i < order.size(); i++) {
            Parameter p = order.get(i);
            p.bind(
                    values.view(at[i], p.shape()),
                    training ? grads.view(at[i], p.shape()) : null,
                    training ? first.view(at[i], p.shape()) : null,
                    training ? second.view(at[i], p.shape()) : null);
        }
    }

    /** The same, with a copy of all values in BF16 where {@code precision} asks for it. */
    public void allocate(Backend onBackend, boolean training, Precision precision) {
        allocate(onBackend, training);
        keepIn(precision);
    }

    /** Makes the BF16 copy of all values that {@code precision} needs, unless it is there. */
    public void keepIn(Precision precision) {
        if (precision == Precision.FP32 || narrow != null) {
            return;
        }
        int n = Math.toIntExact(values.size());
        narrow = arena.allocate(DType.BF16, n);
        for (Parameter p : byName.values()) {
            long at = (p.value().address() - values.address()) / Float.BYTES;
            p.bindNarrow(narrow.view(at, p.shape()));
        }
        backend.ops().mixed().narrow(backend.stream(), values, narrow);
    }

    /** Draws first values. A parameter's numbers depend on the seed and its name only. */
    public void initialize(long seed) {
        RandomGeneratorFactory<RandomGenerator> factory = RandomGeneratorFactory.of("L64X128MixRandom");
        for (Parameter p : byName.values()) {
            RandomGenerator r = factory.create(seed * 0x9E3779B97F4A7C15L ^ mix(p.name()));
            float[] a = new float[p.size()];
            p.init().fill(r, a, p.shape());
            write(p.value(), a);
        }
    }

    private static long mix(String name) {
        long h = 0xCBF29CE484222325L;
        for (int i = 0; i < name.length(); i++) {
            h = (h ^ name.charAt(i)) * 0x100000001B3L;
        }
        return h;
    }

    /** Copies floats into a tensor of this set's engine; into its BF16 copy too, where it is the value of parameters. */
    public void write(Tensor t, float[] a) {
        try (Arena host = Arena.ofConfined()) {
            MemorySegment m = host.allocate(4L * a.length, 64);
            MemorySegment.copy(a, 0, m, ValueLayout.JAVA_FLOAT, 0, a.length);
            backend.upload(backend.stream(), t, m);
            refresh(t);
            backend.stream().synchronize();
        }
    }

    private void refresh(Tensor written) {
        long from = (written.address() - values.address()) / Float.BYTES;
        if (narrow != null && from >= 0 && from + written.size() <= values.size()) {
            int n = Math.toIntExact(written.size());
            backend.ops().mixed().narrow(backend.stream(), values.view(from, n), narrow.view(from, n));
        }
    }

    /** Copies a tensor of this set's engine out. */
    public float[] read(Tensor t) {
        float[] a = new float[Math.toIntExact(t.size())];
        try (Arena host = Arena.ofConfined()) {
            MemorySegment m = host.allocate(4L * a.length, 64);
            backend.download(backend.stream(), t, m);
            backend.stream().synchronize();
            MemorySegment.copy(m, ValueLayout.JAVA_FLOAT, 0, a, 0, a.length);
        }
        return a;
    }

    public Backend backend() {
        return backend;
    }

    /** All values, decayed parameters first; padding is zero. */
    public Tensor values() {
        return values;
    }

    /** All values in BF16, laid out alike; null in fp32. */
    public Tensor narrow() {
        return narrow;
    }

    public Tensor grads() {
        return grads;
    }

    public Tensor firstMoments() {
        return first;
    }

    public Tensor secondMoments() {
        return second;
    }

    /** How many leading floats of the buffers belong to decayed parameters. */
    public int decayedFloats() {
        return decayedFloats;
    }

    /** Bytes on the engine. */
    public long liveBytes() {
        return arena == null ? 0 : arena.liveBytes();
    }

    /** A table of bytes per purpose. */
    public String memory() {
        return arena == null ? "not allocated" : arena.dump();
    }

    @Override
    public void close() {
        if (arena != null) {
            arena.close();
        }
    }
}
