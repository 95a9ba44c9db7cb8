/* Connects, sends a stream, and gets it back behind a line that says who answers.
   usage: client ADDRESS PORT; prints: own address and port, those of the peer, who answered, "intact". */

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LENGTH = 1000003 };

static char sent[LENGTH], got[LENGTH + 100];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void say(int (*ask)(int, struct sockaddr *, socklen_t *), int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char host[64], port[8];
    if (ask(fd, (struct sockaddr *)&address, &length))
        fail("the address of a socket");
    if (getnameinfo((struct sockaddr *)&address, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV))
        fail("getnameinfo");
    printf("%s %s ", host, port);
}

int main(int count, char **arguments)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *to;
    if (count != 3 || getaddrinfo(arguments[1], arguments[2], &hints, &to))
        return 2;
    int fd = socket(to->ai_family, to->ai_socktype, 0);
    if (fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen))
        fail("connect");
    say(getsockname, fd);
    say(getpeername, fd);

    for (int i = 0; i < LENGTH; i++)
        sent[i] = i % 251;
    for (size_t done = 0; done < LENGTH;) {
        ssize_t now = write(fd, sent + done, LENGTH - done);
        if (now < 0)
            fail("write");
        done += now;
    }
    shutdown(fd, SHUT_WR);
    size_t length = 0;
    for (ssize_t now; (now = read(fd, got + length, sizeof got - length)) != 0; length += now)
        if (now < 0)
            fail("read");

    char *end = memchr(got, '\n', length);
    if (!end)
        return 3;
    int intact = got + length - (end + 1) == LENGTH && !memcmp(end + 1, sent, LENGTH);
    printf("%.*s %s\n", (int)(end - got), got, intact ? "intact" : "differs");
    return 0;
}
