package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.BackendProvider;
import ai.lram.backend.BackendUnavailableException;
import java.util.Optional;

/** Offers the CUDA engine where discovery finds a usable device. What it found is kept for the life of the process. */
public final class CudaBackendProvider implements BackendProvider {
    private static final Object LOCK = new Object();
    private static Diagnosis firstDevice;

    public CudaBackendProvider() {}

    /** The state of device 0, found out once: the bindings cannot be loaded a second time after a failure. */
    static Diagnosis diagnosis() {
        synchronized (LOCK) {
            if (firstDevice == null) {
                firstDevice = discover(0);
            }
            return firstDevice;
        }
    }

    private static Diagnosis discover(int ordinal) {
        return new Discovery(new LinuxMachine(), Discovery.Libraries.real(), System.getProperty("os.name"))
                .run(ordinal);
    }

    @Override
    public String name() {
        return "cuda";
    }

    @Override
    public int rank() {
        return 10;
    }

    @Override
    public Optional<String> whyUnavailable() {
        Diagnosis d = diagnosis();
        return d.usable() ? Optional.empty() : Optional.of(d.sentence());
    }

    @Override
    public Backend open(BackendOptions options) {
        Diagnosis first = diagnosis();
        Diagnosis d = options.deviceIndex() == 0 || !first.usable() ? first : discover(options.deviceIndex());
        if (!d.usable()) {
            throw new BackendUnavailableException(
                    "CUDA device " + options.deviceIndex() + " cannot be opened", d.why(), d.fix());
        }
        try {
            return new CudaBackend(
                    new JavaCppDriver(),
                    new JavaCppNvrtc(),
                    new JavaCppCublasLt(),
                    d.device(),
                    KernelCompiler.findToolkitHeaders(new LinuxMachine()),
                    CubinCache.standard(
                            System.getProperty(CubinCache.FOLDER_PROPERTY),
                            System.getenv("XDG_CACHE_HOME"),
                            System.getProperty("user.home")),
                    options.stepForm());
        } finally {
            d.release().run();
        }
    }
}
