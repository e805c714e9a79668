package ai.lram.backend;

/**
 * @param threads worker threads of the CPU engine, the caller included; 0 takes the number of processors
 * @param deviceIndex which device of its kind
 */
public record BackendOptions(int threads, int deviceIndex) {
    public BackendOptions {
        if (threads < 0 || threads > 1024 || deviceIndex < 0) {
            throw new IllegalArgumentException("threads must be 0..1024 and the device index >= 0, got threads="
                    + threads + " deviceIndex=" + deviceIndex + "; use 0 for all processors");
        }
    }

    public static BackendOptions defaults() {
        return new BackendOptions(0, 0);
    }

    public static BackendOptions threads(int threads) {
        return new BackendOptions(threads, 0);
    }
}
