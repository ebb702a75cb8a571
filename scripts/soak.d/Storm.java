import java.io.*;
import java.net.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

/** Threads, NIO, files, mappings and children in one JVM. Prints `case NAME: OUTCOME`. */
public class Storm {
    static void say(String name, Object outcome) {
        System.out.println("case " + name + ": " + outcome);
    }

    static String digest(byte[] data) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(data), 0, 8);
    }

    static byte[] pattern(int size, int seed) {
        byte[] data = new byte[size];
        new Random(seed).nextBytes(data);
        return data;
    }

    /** An echo server on one selector, with non-blocking channels. */
    static final class Echo implements Runnable {
        final Selector selector = Selector.open();
        final ServerSocketChannel listener = ServerSocketChannel.open();
        volatile boolean over;

        Echo() throws IOException {
            listener.bind(new InetSocketAddress("127.0.0.1", 0)).configureBlocking(false);
            listener.register(selector, SelectionKey.OP_ACCEPT);
        }

        public void run() {
            try {
                while (!over) {
                    selector.select(200);
                    for (Iterator<SelectionKey> keys = selector.selectedKeys().iterator(); keys.hasNext(); ) {
                        SelectionKey key = keys.next();
                        keys.remove();
                        serve(key);
                    }
                }
            } catch (IOException error) {
                say("server", error);
            }
        }

        void serve(SelectionKey key) throws IOException {
            if (key.isAcceptable()) {
                SocketChannel channel = listener.accept();
                if (channel == null) return;
                channel.configureBlocking(false);
                channel.register(selector, SelectionKey.OP_READ, ByteBuffer.allocateDirect(65536));
                return;
            }
            SocketChannel channel = (SocketChannel) key.channel();
            ByteBuffer buffer = (ByteBuffer) key.attachment();
            if (key.isReadable() && channel.read(buffer) < 0 && buffer.position() == 0) {
                channel.close();
                return;
            }
            buffer.flip();
            channel.write(buffer);
            buffer.compact();
            key.interestOps(buffer.position() > 0 ? SelectionKey.OP_READ | SelectionKey.OP_WRITE : SelectionKey.OP_READ);
        }
    }

    static int echoed(int port, int seed) throws Exception {
        byte[] data = pattern(200_000, seed);
        try (Socket socket = new Socket("127.0.0.1", port)) {
            Thread writer = new Thread(() -> {
                try {
                    socket.getOutputStream().write(data);
                    socket.shutdownOutput();
                } catch (IOException error) {
                    say("client " + seed, error);
                }
            });
            writer.start();
            byte[] back = socket.getInputStream().readNBytes(data.length);
            writer.join();
            return Arrays.equals(back, data) ? 1 : 0;
        }
    }

    static void network(ExecutorService pool) throws Exception {
        Echo echo = new Echo();
        Thread server = new Thread(echo);
        server.start();
        int port = echo.listener.socket().getLocalPort();
        List<Future<Integer>> clients = new ArrayList<>();
        for (int n = 0; n < 40; n++) {
            int seed = n;
            clients.add(pool.submit(() -> echoed(port, seed)));
        }
        int whole = 0;
        for (Future<Integer> client : clients) whole += client.get();
        echo.over = true;
        echo.selector.wakeup();
        server.join();
        say("echo", whole + " whole of " + clients.size());
    }

    static void files(ExecutorService pool) throws Exception {
        List<Future<String>> parts = new ArrayList<>();
        for (int n = 0; n < 12; n++) {
            int seed = n;
            parts.add(pool.submit(() -> {
                Path path = Path.of("file-" + seed);
                Files.write(path, pattern(100_000, seed));
                try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
                    MappedByteBuffer map = channel.map(FileChannel.MapMode.READ_WRITE, 0, channel.size());
                    for (int at = 0; at < map.limit(); at += 4096) map.put(at, (byte) seed);
                    map.force();
                    ByteBuffer some = ByteBuffer.allocate(5000);
                    channel.read(some, 50_000);
                    channel.force(true);
                }
                try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
                    file.seek(99_000);
                    file.writeUTF("end");
                }
                return digest(Files.readAllBytes(path));
            }));
        }
        StringBuilder all = new StringBuilder();
        for (Future<String> part : parts) all.append(part.get());
        say("files", digest(all.toString().getBytes()));
    }

    static void children() throws Exception {
        StringBuilder all = new StringBuilder();
        for (int n = 0; n < 6; n++) {
            Process process = new ProcessBuilder("cat").start();
            byte[] data = pattern(30_000, n);
            Thread writer = new Thread(() -> {
                try (OutputStream out = process.getOutputStream()) {
                    out.write(data);
                } catch (IOException error) {
                    say("child", error);
                }
            });
            writer.start();
            all.append(Arrays.equals(process.getInputStream().readAllBytes(), data)).append(process.waitFor()).append(' ');
            writer.join();
        }
        say("children", all);
    }

    public static void main(String[] arguments) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(16);
        network(pool);
        files(pool);
        children();
        AtomicLong sum = new AtomicLong();
        List<Future<?>> tasks = new ArrayList<>();
        for (int n = 0; n < 2000; n++) {
            int add = n;
            tasks.add(pool.submit(() -> sum.addAndGet(new ArrayList<>(Collections.nCopies(add, 1)).size())));
        }
        for (Future<?> task : tasks) task.get();
        say("tasks", sum);
        List<Thread> many = new ArrayList<>();
        for (int n = 0; n < 200; n++) {
            Thread thread = new Thread(null, sum::incrementAndGet, "t" + n, 128 * 1024);
            thread.start();
            many.add(thread);
        }
        for (Thread thread : many) thread.join();
        say("threads", sum);
        System.gc();
        ScheduledExecutorService clock = Executors.newScheduledThreadPool(1);
        long start = System.nanoTime();
        clock.schedule(() -> { }, 50, TimeUnit.MILLISECONDS).get();
        say("timer", System.nanoTime() - start >= 49_000_000L ? "waited" : "did not wait");
        clock.shutdown();
        pool.shutdown();
        say("pool", pool.awaitTermination(20, TimeUnit.SECONDS));
    }
}
