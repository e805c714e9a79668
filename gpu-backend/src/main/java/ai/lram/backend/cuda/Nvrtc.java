package ai.lram.backend.cuda;

import java.util.List;

/** The entry points of NVRTC, the run-time compiler, that the engine uses. Status codes as in {@link Driver}. */
interface Nvrtc {
    int SUCCESS = 0;
    int COMPILATION = 6;
    int BUILTIN_OPERATION_FAILURE = 7;

    /** Major and minor. */
    int version(int[] majorAndMinor);

    int supportedArchitectureCount(int[] count);

    /** Such as 90 for compute capability 9.0; {@code architectures} is as long as the count. */
    int supportedArchitectures(int[] architectures);

    /** @param headers contents of files that the source includes by the names at the same positions */
    int create(long[] program, String source, String name, List<String> headers, List<String> headerNames);

    int compile(long program, List<String> options);

    int logSize(long[] bytes, long program);

    /** Zero-terminated. */
    int log(byte[] log, long program);

    int cubinSize(long[] bytes, long program);

    int cubin(byte[] cubin, long program);

    int destroy(long program);

    String statusName(int status);
}
